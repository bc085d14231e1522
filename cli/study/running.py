"""One trial, in a process of Ray Tune's: what `aepo train` does, then what `aepo eval` does."""

from __future__ import annotations

import contextlib
import logging
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from aepo_rllib.cli.failing import cause_of
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.run_folder import CONFIG, METRICS, RunFolder
from aepo_rllib.cli.stopping import StopRequest
from aepo_rllib.cli.study.trial import EVALUATION, Trial

if TYPE_CHECKING:
    from aepo_rllib.eval.plan import EvaluationPlan

TRIAL, FAILURE = "trial", "failure"
"""In Tune's config and in what is reported: the trial, and why it has ended too early."""


class Budget(StopRequest):
    """Ends a run once it has sampled what it may. Signals are Tune's here: it runs trials in threads."""

    def __init__(self, console: Console, trial: Trial, folder: RunFolder) -> None:
        super().__init__(console)
        self._trial, self._folder = trial, folder

    def __bool__(self) -> bool:
        """Whether the next step would be one too many."""
        if self._trial.completions is None:
            return False
        return self._trial.sampled(self._folder.read(METRICS)) >= self._trial.completions

    def listen(self) -> None:
        """To nobody."""


def run_trial(config: Mapping[str, str], trials: Mapping[str, Trial]) -> dict[str, Any]:
    """Go on with a trial to its end; Tune's trainable.

    Only the death of the process is Tune's to mend. What is raised is written down and reported: it would be raised
    again.
    """
    trial = trials[config[TRIAL]]
    trial.log.parent.mkdir(parents=True, exist_ok=True)
    with trial.log.open("a", encoding="utf-8") as log, _warnings_in(log):
        console = Console(file=log, markup=False, highlight=False, soft_wrap=True)
        try:
            quiet_libraries()
            _one_thread()
            if not trial.is_trained():
                _train(trial, console)
            for which in trial.checkpoints if trial.evaluation is not None else ():
                if not trial.has_scores(which):
                    _evaluate(trial, which, console)
        except Exception as error:
            console.print(traceback.format_exc())
            return {FAILURE: f"{cause_of(error)} (see {trial.log})"}
    return {FAILURE: ""}


@contextlib.contextmanager
def _warnings_in(log: TextIO) -> Iterator[None]:
    """What the package warns of, such as a dial at its stop, stands in the trial's log."""
    logger, handler = logging.getLogger("aepo_rllib"), logging.StreamHandler(log)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # trials run side by side, and small models are fastest so


def _train(trial: Trial, console: Console) -> None:
    from aepo_rllib.cli.loop import train
    from aepo_rllib.cli.resuming import restore
    from aepo_rllib.cli.trackers import tracked
    from aepo_rllib.cli.train import new_run, resumed_run, stopped

    assert trial.values is not None
    resuming = (trial.folder / CONFIG).is_file()
    options = {"output": None, "resume": trial.folder} if resuming else {"output": trial.folder, "resume": None}
    with contextlib.ExitStack() as claims:
        prepare = resumed_run if resuming else new_run
        prepared = prepare({**options, "dry_run": False}, trial.values, console, claims)
        assert prepared is not None
        folder = prepared.folder
        if resuming:
            set_evaluation_aside(trial)
        with tracked(folder, prepared.settings.track) as trackers, stopped(prepared.config) as algo:
            algo.run_id = folder.config_and_id()[1]
            if resuming:
                restore(algo, prepared.checkpoint, folder, console)
            train(algo, prepared.settings, folder, console, Budget(console, trial, folder), trackers)


def set_evaluation_aside(trial: Trial) -> None:
    """A run that is to have more steps keeps the evaluation of what was its last step, under that step's name."""
    evaluation, aside = trial.folder / EVALUATION, trial.report_of(trial.steps_done())
    if evaluation.is_dir():
        shutil.rmtree(aside, ignore_errors=True)  # of the same step, from before
        evaluation.rename(aside)


def _evaluate(trial: Trial, which: str, console: Console) -> None:
    from aepo_rllib.eval.plan import EvaluationPlan
    from aepo_rllib.eval.run import evaluate
    from aepo_rllib.eval.target import find_target

    assert trial.evaluation is not None
    settings, model = dict(trial.evaluation), trial.evaluated_model(which)
    target = find_target(model, settings.pop("template", None), settings.pop("answer_form", None))
    console.print(f"evaluating {target.model}")
    report = trial.report(which)
    report.parent.mkdir(parents=True, exist_ok=True)
    prompting: dict[str, Any] = {"template": target.template, "answer_form": target.answer_form}
    planned = EvaluationPlan(**settings, **prompting, model=target.model, output=report)
    if trial.gpus:
        _in_a_task(evaluate, planned, trial.gpus)
    else:
        evaluate(planned)


def _in_a_task(evaluate: Callable[[EvaluationPlan], object], planned: EvaluationPlan, gpus: float) -> None:
    """Evaluate in a process that sees GPUs, among what is reserved for the trial: its own sees none."""
    import ray

    def run() -> None:
        quiet_libraries()
        evaluate(planned)

    ray.get(ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(run).remote())
