"""The trials of a study: which there are, and what each is. Nothing is started here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aepo_rllib.cli.resuming import FINGERPRINTS, check_same_run, fingerprints
from aepo_rllib.cli.run_folder import CONFIG, RunFolder
from aepo_rllib.cli.settings import RunSettings, build, resolved
from aepo_rllib.cli.study.asking import check_evaluations
from aepo_rllib.cli.study.demands import ALONE, bundles_of, checkpoints_to_keep, completions_per_step, with_evaluation
from aepo_rllib.cli.study.elsewhere import build_elsewhere
from aepo_rllib.cli.study.file import StudyFile
from aepo_rllib.cli.study.reading import folder_name
from aepo_rllib.cli.study.trial import Dial, Trial
from aepo_rllib.models.named_folder import EMBEDDED
from aepo_rllib.study.study import BASE_ARM, BEST, LAST, Study
from aepo_rllib.support.arguments import unknown


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
    evaluation, suites = _evaluation(study, file)
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
    return sorted((replace(trial, suites=suites) for trial in trials), key=lambda trial: trial.seed)


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
    checkpoints = study.checkpoints if evaluation is not None else (LAST,)
    kept = {"keep_checkpoints": checkpoints_to_keep(settings, config, steps)} if BEST in checkpoints else {}
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
        checkpoints=checkpoints,
        gpus=gpus,
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
        checkpoints=study.checkpoints[:1],  # it has no others
        gpus=study.evaluation_gpus,
    )


def _base(study: Study, file: StudyFile) -> str:
    """The untrained model of all arms."""
    models = {settings.get("model_path", EMBEDDED) for settings in study.arms.values()}
    with file.within("evaluation"):
        if len(models) > 1:
            raise ValueError(f"base: the arms start from different models: {', '.join(sorted(models))}")
    return models.pop()


def _evaluation(study: Study, file: StudyFile) -> tuple[dict[str, Any] | None, Sequence[str]]:
    """Checked settings of the evaluation, and its suites, as far as they are known."""
    if study.evaluation is None:
        return None, ()
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
    if own.tasks:  # which may have any names
        return dict(study.evaluation), ()
    suites = [*expand(package), *own.problems]
    _check_suites(study, file, suites)
    return dict(study.evaluation), suites


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
