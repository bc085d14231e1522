"""What the screen shows while a search runs: trials that run, are stopped, have ended, and the best so far."""

from __future__ import annotations

from collections import Counter

from aepo_rllib.cli.study.watching import Watched
from aepo_rllib.cli.tune.ledger import BASELINE, BEGUN, FINISHED, LEFT, WAITING, Ledger
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.trial import value_of

RUNNING = "running"
OPEN = {BEGUN: "waiting", WAITING: "waiting"}
"""What is said of trials that nobody has in hand."""


class Shown(Watched):
    """A bar of trials that have ended, with a line about all.

    Args:
        plan: Of the search.
        ledger: Its trials.
        total: Trials in all, as far as is known.
    """

    def __init__(self, plan: Plan, ledger: Ledger, total: int) -> None:
        super().__init__()
        self._plan, self._ledger, self._total = plan, ledger, total
        self._task = self._bar.add_task("", total=total)
        self._values: dict[str, float] = {}

    def _update(self) -> str:
        names = [*self._ledger.trials]
        states = {name: self._ledger.state(name) for name in names}
        words = Counter(
            RUNNING if name in self._ledger.running else OPEN.get(states[name], states[name]) for name in names
        )
        for name in names:
            if states[name] == FINISHED and name not in self._values and name != BASELINE:
                self._values[name] = value_of(self._plan, self._ledger, name)
        self._total = max(self._total, len(names))
        ended = sum(state not in LEFT for state in states.values())
        text = self._text(words)
        self._bar.update(self._task, completed=ended, total=self._total, description=text)
        steps = sum(map(self._ledger.steps_done, names))
        return f"{ended} of {self._total} trials, {steps} training steps; {text}"

    def _text(self, words: Counter[str]) -> str:
        parts = [f"{count} {word}" for word, count in sorted(words.items())]
        if self._values:
            objective = self._plan.objective
            best = max(self._values, key=lambda name: objective.rank(self._values[name]))
            parts.append(f"best {objective.metric} {self._values[best]:.4g} ({best})")
        return ", ".join(parts)
