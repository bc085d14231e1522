"""What the screen shows while a search runs: trials that run, are stopped, have ended, and the best so far."""

from __future__ import annotations

import threading
import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aepo_rllib.cli.study.showing import LOOK_SECONDS, PLAIN_LINE_SECONDS
from aepo_rllib.cli.tune.ledger import BASELINE, BEGUN, FINISHED, LEFT, WAITING, Ledger
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.trial import value_of

RUNNING = "running"
OPEN = {BEGUN: "waiting", WAITING: "waiting"}
"""What is said of trials that nobody has in hand."""


class Shown:
    """A bar of training steps with a line about the trials, read from their folders; lines where there is no terminal.

    Args:
        plan: Of the search.
        ledger: Its trials.
        total: Trials in all, as far as is known.
    """

    def __init__(self, plan: Plan, ledger: Ledger, total: int) -> None:
        self._plan, self._ledger, self._total = plan, ledger, total
        self._console = Console(stderr=True, highlight=False, markup=False)
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=total)
        self._values: dict[str, float] = {}
        self._last = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._update()

    def _update(self) -> None:
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
        if not self._console.is_terminal and time.monotonic() - self._last >= PLAIN_LINE_SECONDS:
            self._last = time.monotonic()
            steps = sum(map(self._ledger.steps_done, names))
            self._console.print(f"{ended} of {self._total} trials, {steps} training steps; {text}", soft_wrap=True)

    def _text(self, words: Counter[str]) -> str:
        parts = [f"{count} {word}" for word, count in sorted(words.items())]
        if self._values:
            objective = self._plan.objective
            best = max(self._values, key=lambda name: objective.rank(self._values[name]))
            parts.append(f"best {objective.metric} {self._values[best]:.4g} ({best})")
        return ", ".join(parts)

    def __enter__(self) -> Shown:
        self._bar.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._update()
        self._bar.stop()
