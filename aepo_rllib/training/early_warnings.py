"""`EarlyWarnings`: says within a few steps that a run cannot learn, why, and which option helps."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from aepo_rllib import metrics
from aepo_rllib.envs.verdict import Verdict

WINDOW = 3
"""Steps that a trouble has to be seen in."""
TOO_MANY = 0.5
"""Share of completions that are cut off, or without an answer."""
EASY = 0.5
"""Mean reward above which problems are too easy rather than too hard."""


class Sizes(Protocol):
    """What of a config the warnings name."""

    max_new_tokens: int
    group_size: int


class EarlyWarnings:
    """Looks at the completions at T = 1 of the last steps; what it has said once it does not say again.

    Its state follows from the figures alone: shown those of the steps before, it goes on where a run was resumed.

    Args:
        sizes: Of the run.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._steps: deque[Mapping[str, float]] = deque(maxlen=WINDOW)
        self._said: set[str] = set()

    def observe(self, figures: Mapping[str, float]) -> list[str]:
        """Take note of a step.

        Args:
            figures: Of the stream at T = 1, by the names in `aepo_rllib.metrics`.

        Returns:
            What is wrong and what to change, a sentence each; mostly nothing.
        """
        self._steps.append(figures)
        found = self._troubles() if len(self._steps) == WINDOW else {}
        new = [text for name, text in found.items() if name not in self._said]
        self._said |= found.keys()
        return new

    def _troubles(self) -> dict[str, str]:
        """Sentences by name, without those that only follow from another."""
        cut = self._cut_off()
        silent = "" if cut else self._no_answer()
        unrewarded = self._unrewarded()
        flat = "" if unrewarded else self._flat()
        found = {"cut off": cut, "no answer": silent, "unrewarded": unrewarded, "flat": flat}
        return {name: text for name, text in found.items() if text}

    def _cut_off(self) -> str:
        share = self._mean(metrics.TRUNCATED_SHARE)
        if share <= TOO_MANY:
            return ""
        return (
            f"{share:.0%} of the completions of the last {WINDOW} steps were cut off at max_new_tokens="
            f"{self._sizes.max_new_tokens}, before their end; raise max_new_tokens, or choose a template that asks for "
            "less (env_config.template)"
        )

    def _no_answer(self) -> str:
        share = self._mean(metrics.verdict_share(Verdict.NO_ANSWER))
        if share <= TOO_MANY:
            return ""
        return (
            f"{share:.0%} of the completions of the last {WINDOW} steps state no final answer in the form that is "
            "read; choose a template that asks for it (env_config.template), or the form that the model gives "
            "(env_config.answer_form)"
        )

    def _unrewarded(self) -> str:
        names = metrics.REWARD_MEAN, metrics.verdict_share(Verdict.CORRECT)
        if any(step.get(name, 0.0) != 0 for step in self._steps for name in names) or not self._knows(names[0]):
            return ""
        return (
            f"no completion of the last {WINDOW} steps was rewarded, so there is nothing to learn from; look at what "
            "the model says: where it is right, the verifier misreads it (env_config.verifier, "
            "env_config.answer_form); where it is not, take easier problems (env_config.problems), a stronger model "
            f"(model_path) or a larger group_size (now {self._sizes.group_size})"
        )

    def _flat(self) -> str:
        if any(step.get(metrics.FLAT_GROUP_SHARE, 0.0) < 1 for step in self._steps):
            return ""
        other = "harder" if self._mean(metrics.REWARD_MEAN) > EASY else "easier"
        return (
            f"in the last {WINDOW} steps all completions of a problem earned the same, whichever the problem, so there "
            f"was no gradient; take {other} problems (env_config.problems), a reward that tells completions apart "
            f"(env_config.verifier), or a larger group_size (now {self._sizes.group_size})"
        )

    def _knows(self, name: str) -> bool:
        return all(name in step for step in self._steps)

    def _mean(self, name: str) -> float:
        """Over the steps; 0 of what a step does not tell."""
        return sum(step.get(name, 0.0) for step in self._steps) / WINDOW
