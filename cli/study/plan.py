"""The trials of a study: which there are, what each is, and how far it has come. Nothing is started here.

What has been done is read from the folders of the trials, and nowhere else: so a study goes on after any kill.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aepo_rllib import metrics
from aepo_rllib.cli.resuming import FINGERPRINTS, check_same_run, fingerprints
from aepo_rllib.cli.run_folder import CONFIG, HUGGINGFACE, METRICS, RunFolder, step_of
from aepo_rllib.cli.settings import RunSettings, build, resolved
from aepo_rllib.cli.study.asking import check_evaluations
from aepo_rllib.cli.study.demands import ALONE, bundles_of, checkpoints_to_keep, completions_per_step, with_evaluation
from aepo_rllib.cli.study.elsewhere import build_elsewhere
from aepo_rllib.cli.study.file import StudyFile
from aepo_rllib.cli.study.reading import folder_name
from aepo_rllib.models.named_folder import EMBEDDED
from aepo_rllib.study.study import BASE_ARM, Study
from aepo_rllib.support.arguments import unknown

EVALUATION, EVALUATION_OF_BEST, SCORES = "eval", "eval-best", "passk.json"
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
    """One arm with one seed: a run of `aepo train` in a folder of its own, and its evaluation.

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
        best: Whether evaluated is its best checkpoint, and not its last.
        gpus: Of its evaluation.
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
    best: bool = False
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

    @property
    def report(self) -> Path:
        """Folder of its evaluation."""
        return self.folder / (EVALUATION_OF_BEST if self.best else EVALUATION)

    def evaluated_model(self) -> str:
        """The untrained model, the run, or its checkpoint of the best validation score, the first of equal ones.

        Raises:
            ValueError: checkpoints with such a score have not been kept.
        """
        if self.values is None or not self.best:
            return self.model if self.values is None else str(self.folder)
        run = RunFolder(self.folder)
        scores = {record["step"]: record[VALIDATION] for record in run.read(METRICS) if VALIDATION in record}
        kept = {step_of(checkpoint): checkpoint for checkpoint in run.checkpoints()}
        due = [step for step in scores if step % run.config()["checkpoint_every"] == 0]
        if not due or not kept.keys() >= set(due):
            raise ValueError(
                f"{self.folder}: not all of its checkpoints have been kept, so the best may be gone; it was begun "
                "without checkpoint: best"
            )
        return str(kept[max(due, key=scores.__getitem__)])

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
        if not (self.folder / HUGGINGFACE / "config.json").is_file():
            return False
        if self.steps_done() >= self.steps:
            return True
        records = RunFolder(self.folder).read(METRICS)
        return self.completions is not None and self.sampled(records) >= self.completions

    def is_evaluated(self) -> bool:
        """Whether its scores are there, of as many samples as are wanted."""
        if self.evaluation is None:
            return True
        file = self.report / SCORES
        if not file.is_file():
            return False
        try:
            suites = json.loads(file.read_text(encoding="utf-8"))["suites"].values()
            return bool(suites) and all(suite["n"] >= self.evaluation.get("n", 64) for suite in suites)
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.is_trained() and self.is_evaluated()


def plan(study: Study, file: StudyFile, root: Path, *, elsewhere: bool = False) -> list[Trial]:
    """All trials of a study, seed by seed, so that a part of it is a smaller study of all arms. Loads torch and Ray.

    Args:
        study: It.
        file: Whose lines messages name.
        root: Folder of the trials.
        elsewhere: Only to be looked at: another machine has model, problems, engine and GPUs.

    Raises:
        ValueError: a setting that does not fit, or a folder that holds another run; names file, line and arm.
    """
    root = root.resolve()
    evaluation = _evaluation(study, file)
    wanted = {arm: evaluation if arm in study.evaluated else None for arm in study.groups}
    trials = []
    if study.with_base and wanted[BASE_ARM] is not None:
        trials.append(_base_trial(study, file, root, evaluation))
    for arm in study.arms:
        with file.within("arms", arm):
            first = _first_trial(study, arm, root, wanted[arm], elsewhere)
            trials += [replace(first, seed=seed, folder=_folder(root, arm, seed)) for seed in study.seeds]
    for trial in trials if not elsewhere else ():
        with file.within("arms", trial.arm):
            _check_folder(trial)
    if not elsewhere:
        with file.within("evaluation"):
            check_evaluations(trials)
    return sorted(trials, key=lambda trial: trial.seed)


def _folder(root: Path, arm: str, seed: int) -> Path:
    return root / f"{folder_name(arm)}-seed{seed}"


def _first_trial(study: Study, arm: str, root: Path, evaluation: Mapping[str, Any] | None, elsewhere: bool) -> Trial:
    """An arm with its first seed; the others differ in that alone."""
    seed = study.seeds[0]
    settings, config = (build_elsewhere if elsewhere else build)({**study.arms[arm], "seed": seed})
    per_step = completions_per_step(config)
    steps = study.steps if study.steps is not None else (study.completions or 0) // per_step
    if not steps:
        raise ValueError(f"completions={study.completions} is less than the {per_step} of its first step")
    loop = config.dial_loop()
    gpus = study.evaluation_gpus if evaluation is not None else 0
    best = study.best and evaluation is not None
    kept = {"keep_checkpoints": checkpoints_to_keep(settings, config, steps)} if best else {}
    return Trial(
        arm,
        seed,
        _folder(root, arm, seed),
        {**study.arms[arm], **kept, "steps": steps, "algo": settings.algo},
        config.model_path,
        per_step,
        study.completions,
        evaluation,
        Dial(loop.setting, *loop.dial.bounds) if loop else None,
        with_evaluation([ALONE] if elsewhere else bundles_of(config), gpus),
        best,
        gpus,
    )


def _check_folder(trial: Trial) -> None:
    """Refuse to take another run for this one.

    Raises:
        ValueError: the folder holds a run with other settings, or with more steps.
    """
    if not (trial.folder / CONFIG).is_file():
        return
    stored = RunFolder(trial.folder).config()
    settings, config = build(trial.values or {})
    asked = resolved(settings, config) | fingerprints(config)
    try:
        check_same_run(stored, asked, resolved(RunSettings(), type(config)()) | dict.fromkeys(FINGERPRINTS, ""))
    except ValueError as error:
        raise ValueError(f"{trial.folder} holds another run; choose another --output ({error})") from error
    if trial.steps_done() > trial.steps:
        raise ValueError(
            f"{trial.folder} holds {trial.steps_done()} steps, and now it is to have {trial.steps}; choose another "
            "--output, or as many steps as before"
        )


def _base_trial(study: Study, file: StudyFile, root: Path, evaluation: Mapping[str, Any] | None) -> Trial:
    return Trial(
        BASE_ARM,
        0,
        root / folder_name(BASE_ARM),
        None,
        _base(study, file),
        evaluation=evaluation,
        bundles=with_evaluation([ALONE], study.evaluation_gpus),
        gpus=study.evaluation_gpus,
    )


def _base(study: Study, file: StudyFile) -> str:
    """The untrained model of all arms."""
    models = {settings.get("model_path", EMBEDDED) for settings in study.arms.values()}
    with file.within("evaluation"):
        if len(models) > 1:
            raise ValueError(f"base: the arms start from different models: {', '.join(sorted(models))}")
    return models.pop()


def _evaluation(study: Study, file: StudyFile) -> dict[str, Any] | None:
    """Checked settings of the evaluation."""
    if study.evaluation is None:
        return None
    from aepo_rllib.eval.plan import EvaluationPlan
    from aepo_rllib.eval.settings import settings_of
    from aepo_rllib.eval.suites.catalogue import expand
    from aepo_rllib.eval.suites.own import find_sources

    known = settings_of(EvaluationPlan).keys() - {"model", "output", "overwrite", "repair"}
    with file.within("evaluation"):
        for key in study.evaluation:
            if key not in known:
                raise ValueError(unknown("key", key, known))
        package, own = find_sources(EvaluationPlan(**study.evaluation))  # what is read is remembered
    if not own.tasks:  # which may have any names
        _check_suites(study, file, [*expand(package), *own.problems])
    return dict(study.evaluation)


def _check_suites(study: Study, file: StudyFile, known: Sequence[str]) -> None:
    """Refuse figures and tables of suites that are not evaluated."""
    for key, views in (("figures", study.figures), ("tables", study.tables)):
        for view in views:
            with file.within(key, view.name):
                for suite in view.suites:
                    if suite not in known:
                        raise ValueError(
                            f"{unknown('suite in suites', suite, known)}; evaluated are {', '.join(known)}"
                        )
