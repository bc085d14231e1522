"""Whether an engine samples from the learner's weights: the probe after every update, the first ratio of a batch.

An engine with a model of its own (vLLM) rounds differently, which is allowed within tolerances. It can also keep old
weights, or some of them, while its samples look fine (a tied output head that was not sent, a cache of old prefixes),
which has to stop the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aepo_rllib.experience.rows import Row
from aepo_rllib.rollout.engine import Sequences

PROBE_ROWS = 4


class RatioError(RuntimeError):
    """The engine and the learner disagree about the log-probs of freshly sampled tokens."""


class ProbeError(RuntimeError):
    """An engine samples from other weights than the learner's."""


@dataclass(frozen=True)
class Gap:
    """How far an engine's log-probs are from the learner's, in nats.

    Attributes:
        mean: Of |difference| over tokens.
        largest: Of |difference|.
    """

    mean: float
    largest: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} nats per token on average and {self.largest:.3g} at most"


@dataclass(frozen=True)
class Tolerance:
    """The gap that is allowed.

    Attributes:
        ratio: Largest distance from 1 of a token's ratio, whichever of the two is on top.
        mean: Mean |difference| of log-probs in nats per token.
    """

    ratio: float
    mean: float

    def admits(self, gap: Gap) -> bool:
        """Whether a gap is small enough; NaN is not."""
        return bool(np.expm1(gap.largest) <= self.ratio and gap.mean <= self.mean)

    def __str__(self) -> str:
        return f"ratio_tolerance={self.ratio}, mismatch_tolerance={self.mean}"


def choose_probe(rows: Sequence[Row], count: int) -> Sequences:
    """The first completions of different prompts: what is asked again after every update.

    They come without their last token, since scoring makes some engines draw one more, and it has to fit the context.
    """
    chosen: dict[tuple[int, ...], Row] = {}
    for row in rows:
        chosen.setdefault(tuple(map(int, row.prompt_ids)), row)
    pairs = [(list(prompt), [int(token) for token in row.completion_ids]) for prompt, row in chosen.items()]
    return [(prompt, completion[:-1] or completion) for prompt, completion in pairs][:count]


def measure_gap(learner: Sequence[np.ndarray], engine: Sequence[np.ndarray]) -> Gap:
    """Compare log-probs of the same tokens."""
    differences = np.abs(np.concatenate(learner) - np.concatenate(engine))
    return Gap(float(differences.mean()), float(differences.max()))


def check_probe(gaps: Mapping[int, Gap], *, allowed: Tolerance, step: int) -> None:
    """Stop where an engine is off.

    Args:
        gaps: By env runner, as RLlib counts them.
        allowed: What may be.
        step: The training step whose update it was, for the message.

    Raises:
        ProbeError: names the update and the runners.
    """
    off = {index: gap for index, gap in gaps.items() if not allowed.admits(gap)}
    if off:
        worst = max(off.values(), key=lambda gap: gap.largest)
        raise ProbeError(
            f"after the weight update of training step {step} the engine of env runner {', '.join(map(str, off))} is "
            f"off the learner by {worst} on the probe ({allowed}): it kept old weights"
        )


def check_first_step(gap: Gap, *, allowed: Tolerance, step: int) -> None:
    """Stop where freshly sampled tokens have other log-probs in the learner.

    Raises:
        RatioError: names the training step.
    """
    if not allowed.admits(gap):
        raise RatioError(
            f"in the first optimizer step of training step {step} the engine's log-probs are off the learner's by "
            f"{gap} ({allowed}): the rollout engine did not sample from the learner's weights"
        )
