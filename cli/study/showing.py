"""What the screen shows of a study: what it will take, how far it has come, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console, Group
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from aepo_rllib import metrics
from aepo_rllib.cli.run_folder import METRICS, RunFolder
from aepo_rllib.cli.study.trial import Trial
from aepo_rllib.cli.study.watching import BAR_WIDTH, Watched
from aepo_rllib.models.named_folder import EMBEDDED, EMBEDDED_CHAIN
from aepo_rllib.study.measures import WINDOW
from aepo_rllib.study.report import Report
from aepo_rllib.study.study import Study
from aepo_rllib.study.summary import mean
from aepo_rllib.support.terminal import visible

SECONDS: dict[str, tuple[float, float]] = {EMBEDDED: (0.0024, 0.0009), EMBEDDED_CHAIN: (0.0027, 0.0024)}
"""By model: of a completion that is trained on, and of a sample of an evaluation, on one core of the machine of
docs/court.md, where a step of 128 completions of the embedded model takes 0.3 s."""
SECONDS_PER_TRIAL = 8.0
"""For building the algorithm, base entropy, checkpoint, export and reports."""
ENTROPY, REWARD = (f"{metrics.MAIN}/{name}" for name in (metrics.EXACT_ENTROPY, metrics.REWARD_MEAN))
FEW = 6
"""Trials of which each gets a bar of its own."""
FEW_WIDTH = 14
"""Columns of such a bar, so that its line fits into 80."""


class Shown(Watched):
    """A bar for every trial where these are few, and bars of all training steps and trials.

    Args:
        trials: All of the study.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        few = trials if len(trials) <= FEW else ()
        super().__init__(bar_width=FEW_WIDTH if few else BAR_WIDTH)
        self._trials = trials
        self._ended: set[str] = set()
        self._each = {trial.name: self._bar.add_task(trial.name, total=trial.steps) for trial in few if trial.steps}
        self._steps = self._bar.add_task("training steps", total=sum(trial.steps for trial in trials))
        self._done = self._bar.add_task("trials", total=len(trials))

    def _update(self) -> str:
        steps = {trial.name: trial.steps_done() for trial in self._trials}
        self._ended |= {trial.name for trial in self._trials if trial.name not in self._ended and trial.is_finished()}
        lines = {trial.name: self._line(trial) for trial in self._trials if trial.name in self._each}
        for name, line in lines.items():
            self._bar.update(self._each[name], completed=steps[name], description=f"{name} {line}".strip())
        self._bar.update(self._steps, completed=sum(steps.values()))
        self._bar.update(self._done, completed=len(self._ended))
        began = "".join(f"; {name} {steps[name]}, {line}" for name, line in lines.items() if line)
        return f"{len(self._ended)} of {len(self._trials)} trials, {sum(steps.values())} training steps{began}"

    def _line(self, trial: Trial) -> str:
        """Means of a trial's last steps, and what it does now; nothing before its first one."""
        last = RunFolder(trial.folder).read(METRICS)[-WINDOW:] if trial.steps_done() else []
        if not last:
            return ""
        if trial.name not in self._ended and trial.is_trained():
            return "evaluating"
        entropy, reward = (mean([record.get(key, math.nan) for record in last]) for key in (ENTROPY, REWARD))
        return f"entropy {entropy:.3f} reward {reward:.3f}"


def show_report(written: Report) -> None:
    """Print those of a report's tables that fit the screen, and where all of it is."""
    console = Console(highlight=False)
    for text in written.tables.values():
        table = text.lstrip().startswith("|") or "\n|" in text
        if not table or max(map(len, text.splitlines())) <= console.width:
            console.print(Markdown(visible(text, lines=True)), "")
    for file in (*written.figures, written.page):
        click.echo(f"{'report' if file == written.page else 'figure'}: {visible(file)}")


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
    completions = sum(trial.steps * trial.per_step for trial in left)
    words = f"{len(trials)} trials, {len(left)} of them left: {completions} completions to train on."
    if all(trial.model in SECONDS for trial in trials):
        hours = sum(map(seconds_of, left)) / min(jobs, len(left) or 1) / 3600
        words += f" With {jobs} at a time about {f'{hours:.1f} hours' if hours > 1 else f'{60 * hours:.0f} minutes'}."
    return Group(Text(study.title), Text(), table, Text(), Text(words))


def seconds_of(trial: Trial) -> float:
    """What is left of a trial takes with an embedded model, roughly; a best checkpoint may turn out to be the last."""
    evaluation: dict[str, Any] = dict(trial.evaluation or {})
    per_completion, per_sample = SECONDS[trial.model]
    problems = evaluation.get("limit") or 96
    sources = [*evaluation.get("suites", ()), *evaluation.get("problems", ())] or [""]
    samples = problems * evaluation.get("n", 64) * len(sources) if trial.evaluation is not None else 0
    left = max(trial.steps - trial.steps_done(), 0) * trial.per_step
    samples *= sum(not (trial.is_trained() and trial.has_scores(which)) for which in trial.checkpoints)
    return SECONDS_PER_TRIAL + left * per_completion + samples * per_sample
