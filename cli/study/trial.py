"""One trial of a study: a run folder, how far it has come, and the evaluations in it. Nothing is started here.

What has been done is read from its folder, and nowhere else: so a study goes on after any kill.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aepo_rllib import metrics
from aepo_rllib.cli.run_folder import HUGGINGFACE, INFO, METRICS, RunFolder, step_name, step_of
from aepo_rllib.cli.study.demands import ALONE
from aepo_rllib.study.study import BEST, LAST

EVALUATION, SCORES = "eval", "passk.json"
NUMBERS = {"n": 64, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": None, "limit": None, "seed": 0}
"""Settings of an evaluation that its report repeats as they were given, and what they are where nothing is said."""
VALIDATION = metrics.LOGGED_PASS_AT_1
ROUNDS = f"{metrics.THROUGHPUT}/{metrics.SAMPLING_ROUNDS}"


@dataclass(frozen=True)
class Dial:
    """What a method's dial turns, and between which bounds."""

    setting: str
    low: float
    high: float

    @property
    def stands_still(self) -> bool:
        """Whether it turns to nothing, so that a target is none."""
        return self.low == self.high


@dataclass(frozen=True)
class Trial:
    """One arm with one seed: a run of `aepo train` in a folder of its own, and its evaluations.

    Attributes:
        arm: Its name.
        seed: Of problems and completions; of the untrained model 0.
        folder: Of the run, absolute.
        settings: What `aepo train --config` would be given, but for the seed; None of the untrained model, which is
            evaluated only.
        model: The untrained model.
        per_step: Completions that a step samples, of all streams, where it samples once.
        completions: It ends early once it has sampled so many; None where the number of steps alone counts.
        evaluation: Settings of an evaluation; None for none.
        dial: What is turned; None where nothing is.
        bundles: What it asks of Ray, as Tune's placement groups have it.
        suites: What it is evaluated on; none where that is not known beforehand.
        checkpoints: Which of its checkpoints are evaluated: `LAST`, `BEST`, or both.
        gpus: Of an evaluation.
    """

    arm: str
    seed: int
    folder: Path
    settings: Mapping[str, Any] | None
    model: str
    per_step: int = 0
    completions: int | None = None
    evaluation: Mapping[str, Any] | None = None
    dial: Dial | None = None
    bundles: Sequence[Mapping[str, float]] = (ALONE,)
    suites: Sequence[str] = ()
    checkpoints: Sequence[str] = (LAST,)
    gpus: float = 0

    @property
    def values(self) -> dict[str, Any] | None:
        """What `aepo train --config` would be given; None of the untrained model."""
        return None if self.settings is None else {**self.settings, "seed": self.seed}

    @property
    def steps(self) -> int:
        """Most training steps."""
        return self.settings["steps"] if self.settings else 0

    @property
    def name(self) -> str:
        """In logs and messages."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """Beside the folder, which has to be empty when the run begins."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def steps_done(self) -> int:
        """Training steps with metrics on disk."""
        file = self.folder / METRICS
        return file.read_bytes().count(b"\n") if file.is_file() else 0

    def sampled(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Completions of these steps."""
        return sum(self.per_step * round(record.get(ROUNDS, 1)) for record in records)

    def is_trained(self) -> bool:
        """Whether all steps are done and the model is exported."""
        if self.values is None:
            return True
        if not self.steps_done() or exported_step(self.folder) != self.steps_done():
            return False
        if self.steps_done() >= self.steps:
            return True
        return self.completions is not None and self.sampled(self._records()) >= self.completions

    def is_evaluated(self) -> bool:
        """Whether all its scores are there, of as many samples as are wanted."""
        return self.evaluation is None or all(map(self.has_scores, self.checkpoints))

    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.is_trained() and self.is_evaluated()

    # --- The evaluations of a trained one ---

    @property
    def asked(self) -> dict[str, Any]:
        """Those settings of its evaluation that are numbers, and that a report repeats."""
        return {name: (self.evaluation or {}).get(name, default) for name, default in NUMBERS.items()}

    def best_step(self) -> int:
        """The checkpoint of the best validation score, the first of equal ones; the last step without any score."""
        every = RunFolder(self.folder).config()["checkpoint_every"]
        scores = {record["step"]: record[VALIDATION] for record in self._records() if VALIDATION in record}
        last = self.steps_done()
        due = [step for step in scores if step % every == 0 or step == last]
        return max(due, key=scores.__getitem__, default=last)

    def report(self, which: str) -> Path:
        """Folder of an evaluation; of the best checkpoint the last one's, where these are one.

        Args:
            which: `LAST` or `BEST`.
        """
        if which == LAST or self.values is None or (step := self.best_step()) == self.steps_done():
            return self.folder / EVALUATION
        return self.report_of(step)

    def report_of(self, step: int) -> Path:
        """Folder of the evaluation of a checkpoint that is not, or is no longer, the last."""
        return self.folder / f"{EVALUATION}-{step_name(step)}"

    def evaluated_model(self, which: str) -> str:
        """The untrained model, the run, or its best checkpoint.

        Raises:
            ValueError: checkpoints with a validation score have not been kept.
        """
        if self.values is None:
            return self.model
        if self.report(which) == self.folder / EVALUATION:
            return str(self.folder)
        kept = {step_of(checkpoint): checkpoint for checkpoint in RunFolder(self.folder).checkpoints()}
        if (step := self.best_step()) not in kept:
            raise ValueError(
                f"{self.folder}: its best checkpoint, of step {step}, is not there; a run that was begun without "
                f"checkpoint: {BEST} keeps the last ones alone"
            )
        return str(kept[step])

    def has_scores(self, which: str) -> bool:
        """Whether a checkpoint's scores are there: of this export, of what is asked for, and of as many samples.

        Where they are others the evaluation is begun again, and refuses what differs.
        """
        report, export = self.report(which), self.folder / HUGGINGFACE / INFO
        file = report / SCORES
        if not file.is_file():
            return False
        if report.name == EVALUATION and export.is_file() and export.stat().st_mtime > file.stat().st_mtime:
            return False
        try:
            scores = json.loads(file.read_text(encoding="utf-8"))
            made, suites = scores["evaluation"], scores["suites"]
            same = all(made[key] == value for key, value in self.asked.items() if key != "n")
            there = set(suites) == set(self.suites or suites)
            return same and there and bool(suites) and all(suite["n"] >= self.asked["n"] for suite in suites.values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

    def _records(self) -> list[dict[str, Any]]:
        return RunFolder(self.folder).read(METRICS)


def exported_step(folder: Path) -> int:
    """After which step a run's model was exported last; 0 where none was."""
    try:
        return int(json.loads((folder / HUGGINGFACE / INFO).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0
