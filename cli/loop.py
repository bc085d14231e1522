"""The training loop behind `aepo train`: steps, their records, checkpoints, and what is shown meanwhile."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from aepo_rllib import metrics
from aepo_rllib.cli.kept_warnings import KeptWarnings, kept_warnings
from aepo_rllib.cli.live_line import VALIDATION, LineOnScreen, run_line
from aepo_rllib.cli.pictures import Pictures
from aepo_rllib.cli.run_folder import HUGGINGFACE, METRICS, WARNINGS, RunFolder
from aepo_rllib.cli.samples import SampleLog
from aepo_rllib.cli.settings import RunSettings
from aepo_rllib.cli.stopping import StopRequest
from aepo_rllib.cli.trackers import Trackers
from aepo_rllib.models.export import ADAPTER_FOLDER
from aepo_rllib.support.sealed_folder import appearing_folder
from aepo_rllib.training.early_warnings import EarlyWarnings

if TYPE_CHECKING:
    from aepo_rllib.training.algorithm import TextRL

logger = logging.getLogger(__name__)

SECTIONS = (metrics.MAIN, metrics.TEMPERED, metrics.CONTROL, metrics.UPDATE, metrics.THROUGHPUT)


def train(
    algo: TextRL,
    settings: RunSettings,
    folder: RunFolder,
    console: Console,
    stop: StopRequest,
    trackers: Trackers,
) -> None:
    """Run the remaining steps; the folder ends with a checkpoint of the last finished step, an export, plots, a page.

    Args:
        algo: At the step to go on from.
        settings: Of the run.
        folder: Where it is recorded.
        console: Where it is shown.
        stop: Ends the run early, after a step.
        trackers: Where else it is shown.

    Raises:
        OSError: the run folder cannot be written.
        Exception: whatever ended a step.
    """
    folder.cut(WARNINGS, algo.train_steps)
    before = folder.read(METRICS)
    samples, early = SampleLog(folder, algo, settings.samples_per_step), _early_warnings(algo, before)
    pictures, record = Pictures(folder, settings.steps), dict[str, Any]()
    algo.on_episodes = samples
    try:
        with (
            kept_warnings(folder, console) as kept,
            run_line(settings.steps, before, console) as line,
        ):
            stop.wait_for_steps()
            _measure_base_entropy(algo, line, samples, console, trackers)
            while algo.train_steps < settings.steps and not stop:
                record = _step(algo, kept, early)
                folder.append(METRICS, record)
                trackers.log(record)
                line.update(record)
                folder.settle()
                if VALIDATION in record:
                    samples.show(f"completions of step {algo.train_steps}", console)
                    trackers.show(algo.train_steps, samples.latest)
                if algo.train_steps % settings.checkpoint_every == 0:
                    folder.begin_checkpoint(algo, keep=settings.keep_checkpoints)
                    pictures.refresh()
            if record and VALIDATION not in record:
                samples.show(f"completions of step {algo.train_steps}", console)
                trackers.show(algo.train_steps, samples.latest)
    except BaseException:
        with contextlib.suppress(Exception):  # what ended the run is to be told, not what follows from it
            _finish(algo, settings, folder)
        pictures.refresh(final=True)
        raise
    _finish(algo, settings, folder)
    trackers.interrupted = stop.signal is not None or stop.cause is not None
    if (error := pictures.refresh(final=True)) is not None:
        logger.warning("plots and page could not be drawn: %s: %s", type(error).__name__, error)


def _early_warnings(algo: TextRL, before: Sequence[Mapping[str, Any]]) -> EarlyWarnings:
    """With what earlier steps have shown, so that nothing is said twice."""
    early, main = EarlyWarnings(algo.config), f"{metrics.MAIN}/"
    for record in before:
        early.observe({key.removeprefix(main): record[key] for key in record if key.startswith(main)})
    return early


def _measure_base_entropy(
    algo: TextRL, line: LineOnScreen, samples: SampleLog, console: Console, trackers: Trackers
) -> None:
    """The work before the first step, shown as such, with what the model says before it has learned anything."""
    if algo.base_entropy is None and algo.train_steps == 0:
        line.doing("measuring the starting model's entropy ...")
        algo.measure_base_entropy()
        samples.show("completions of the starting model", console)
        trackers.show(0, samples.latest)
    line.begin_steps()


def _step(algo: TextRL, kept: KeptWarnings, early: EarlyWarnings) -> dict[str, Any]:
    """A training step and its record."""
    kept.step = algo.train_steps + 1
    result = algo.train()
    for complaint in early.observe(result.get(metrics.MAIN, {})):
        logger.warning("step %d: %s", algo.train_steps, complaint)
    record = flatten(result) | evaluated(algo, result)
    return record | {"step": algo.train_steps, "time": time.time()}


def _finish(algo: TextRL, settings: RunSettings, folder: RunFolder) -> None:
    """Leave the last finished step on the disk.

    In the middle of an update the weights are those of no step, and the last checkpoint stands; likewise where the disk
    has refused the step's record.
    """
    algo.finish_learning()
    folder.settle(wait=True)
    if algo.train_steps and not algo.updating and folder.recorded_steps() == algo.train_steps:
        folder.begin_checkpoint(algo, keep=settings.keep_checkpoints)
        folder.settle(wait=True)
        with appearing_folder(folder.path / HUGGINGFACE, manifest=False) as export:
            algo.export_huggingface(export)
        if algo.config.lora_rank:
            with appearing_folder(folder.path / ADAPTER_FOLDER, manifest=False) as export:
                algo.export_adapter(export)


def flatten(result: Mapping[str, Any]) -> dict[str, float]:
    """This step's figures out of RLlib's nested result, as `section/name`."""
    flat = {}
    for section in SECTIONS:
        for name, value in result.get(section, {}).items():
            flat[f"{section}/{name}"] = float(value)
    for name, value in result.get("learners", {}).get("default_policy", {}).items():
        if name in metrics.LEARNER_METRICS or name.startswith(metrics.LOSS):
            flat[f"{metrics.LEARNER}/{name}"] = float(value)
    return flat


def evaluated(algo: TextRL, result: Mapping[str, Any]) -> dict[str, float]:
    """Evaluation figures, of steps that evaluated: RLlib repeats the last ones in between."""
    interval = algo.config.evaluation_interval
    if not interval or algo.train_steps % interval:
        return {}
    return {metrics.LOGGED_PASS_AT_1: float(result["evaluation"]["env_runners"][metrics.PASS_AT_1])}
