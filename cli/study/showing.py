"""What the screen shows of a study: how far it has come, and before that what it will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from aepo_rllib.cli.study.plan import EMBEDDED, Trial
from aepo_rllib.cli.study.watching import Watched
from aepo_rllib.study.study import Study

SECONDS_PER_COMPLETION = 0.0024
"""Of a trained one: the embedded model on one core of the machine of docs/court.md, whose step of 128 takes 0.3 s."""
SECONDS_PER_SAMPLE = 0.0009
"""Of an evaluation, likewise."""
SECONDS_PER_TRIAL = 8.0
"""For building the algorithm, base entropy, checkpoint, export and reports."""


class Shown(Watched):
    """Bars of training steps and trials.

    Args:
        trials: All of the study.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        super().__init__()
        self._trials = trials
        self._ended: set[str] = set()
        self._steps = self._bar.add_task("training steps", total=sum(trial.steps for trial in trials))
        self._done = self._bar.add_task("trials", total=len(trials))

    def _update(self) -> str:
        steps = sum(trial.steps_done() for trial in self._trials)
        self._ended |= {trial.name for trial in self._trials if trial.name not in self._ended and trial.is_finished()}
        self._bar.update(self._steps, completed=steps)
        self._bar.update(self._done, completed=len(self._ended))
        return f"{len(self._ended)} of {len(self._trials)} trials, {steps} training steps"


def plan_table(study: Study, trials: Sequence[Trial], jobs: int) -> Group:
    """Every arm with its seeds, steps and completions; below, the sums and an estimate of the time."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("arm", "method", "seeds", "steps", "completions", "done"):
        table.add_column(name, justify="left" if name in ("arm", "method") else "right")
    for arm in study.groups:
        own = [trial for trial in trials if trial.arm == arm]
        if not own:
            continue
        first = own[0]
        done = sum(trial.is_finished() for trial in own)
        table.add_row(
            arm,
            str(first.values["algo"]) if first.values else "none",
            str(len(own)) if first.values else "-",
            str(first.steps) if first.values else "-",
            str(first.steps * first.per_step) if first.values else "-",
            f"{done} of {len(own)}",
        )
    left = [trial for trial in trials if not trial.is_finished()]
    hours = sum(map(seconds_of, left)) / min(jobs, len(left) or 1) / 3600
    completions = sum(trial.steps * trial.per_step for trial in left)
    words = f"{len(trials)} trials, {len(left)} of them left: {completions} completions to train on."
    if all(trial.model == EMBEDDED for trial in trials):
        words += f" With {jobs} at a time about {hours:.1f} hours."
    return Group(Text(study.title), Text(), table, Text(), Text(words))


def seconds_of(trial: Trial) -> float:
    """What a whole trial takes with the embedded model, roughly."""
    evaluation: dict[str, Any] = dict(trial.evaluation or {})
    problems = evaluation.get("limit") or 96
    sources = [*evaluation.get("suites", ()), *evaluation.get("problems", ())] or [""]
    samples = problems * evaluation.get("n", 64) * len(sources) if trial.evaluation is not None else 0
    left = max(trial.steps - trial.steps_done(), 0) * trial.per_step
    return SECONDS_PER_TRIAL + left * SECONDS_PER_COMPLETION + samples * SECONDS_PER_SAMPLE
