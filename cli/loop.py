"""The training loop behind `aepo train`: steps, records, checkpoints, and what the screen shows meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aepo_rllib import metrics
from aepo_rllib.cli.plots import write_plots
from aepo_rllib.cli.run_folder import HUGGINGFACE, METRICS, SAMPLES, TENSORBOARD, RunFolder
from aepo_rllib.cli.settings import RunSettings
from aepo_rllib.cli.stopping import StopRequest
from aepo_rllib.control.dial_loop import NEUTRAL
from aepo_rllib.envs.text_env import GRADER_ERROR
from aepo_rllib.models.export import ADAPTER_FOLDER
from aepo_rllib.support.sealed_folder import appearing_folder

if TYPE_CHECKING:
    from aepo_rllib.experience.groups import Groups
    from aepo_rllib.rollout import Purpose
    from aepo_rllib.training.algorithm import TextRL

SECTIONS = (metrics.MAIN, metrics.TEMPERED, metrics.CONTROL, metrics.UPDATE, metrics.THROUGHPUT)
PLAIN_LINE_SECONDS = 10.0
"""Where there is no terminal, a line at most this often instead of a live bar."""


def train(algo: TextRL, settings: RunSettings, folder: RunFolder, console: Console, stop: StopRequest) -> None:
    """Run the remaining steps; the folder ends with a checkpoint of the last finished step, an export and plots.

    Args:
        algo: At the step to go on from.
        settings: Of the run.
        folder: Where it is recorded.
        console: Where it is shown.
        stop: Ends the run early, after a step.

    Raises:
        OSError: the run folder cannot be written.
        Exception: whatever ended a step.
    """
    algo.on_episodes = lambda stream, groups: _write_samples(folder, algo, settings, stream, groups)
    try:
        with _event_file(folder, algo.train_steps) as write, _progress(settings, algo.train_steps, console) as show:
            stop.wait_for_steps()
            while algo.train_steps < settings.steps and not stop:
                result = algo.train()
                record = flatten(result) | evaluated(algo, result)
                record |= {"step": algo.train_steps, "time": time.time()}
                folder.append(METRICS, record)
                write(record)
                show(record)
                folder.settle()
                if algo.train_steps % settings.checkpoint_every == 0:
                    folder.begin_checkpoint(algo, keep=settings.keep_checkpoints)
    except BaseException:
        with contextlib.suppress(Exception):  # what ended the run is to be told, not what follows from it
            _finish(algo, settings, folder)
        raise
    _finish(algo, settings, folder)


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
        write_plots(folder.read(METRICS), folder.path)


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
    return {f"{metrics.EVALUATION}/{metrics.PASS_AT_1}": float(result["evaluation"]["env_runners"][metrics.PASS_AT_1])}


def summary(folder: RunFolder) -> Table:
    """First and last steps side by side."""
    records = folder.read(METRICS)
    window = min(20, max(1, len(records) // 2))
    table = Table(title=f"{folder.path}: {len(records)} steps", title_justify="left")
    table.add_column("")
    table.add_column(f"first {window} steps", justify="right")
    table.add_column(f"last {window} steps", justify="right")
    for label, key in _SUMMARY_ROWS:
        if all(key in record for record in records):
            first, last = (sum(r[key] for r in part) / window for part in (records[:window], records[-window:]))
            table.add_row(label, f"{first:.3f}", f"{last:.3f}")
    return table


_SUMMARY_ROWS = (
    ("mean reward, T = 1", f"{metrics.MAIN}/{metrics.REWARD_MEAN}"),
    ("exact entropy, T = 1 (nats/token)", f"{metrics.MAIN}/{metrics.EXACT_ENTROPY}"),
    ("sampled surprisal, T = 1 (nats/token)", f"{metrics.MAIN}/{metrics.SAMPLED_SURPRISAL}"),
    ("target entropy (nats/token)", f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}"),
    ("temperature of the tempered stream", f"{metrics.CONTROL}/{metrics.TEMPERATURE}"),
    ("share of hot steps in the last 50", f"{metrics.CONTROL}/{metrics.HOT_SHARE}"),
    ("completions per second", f"{metrics.THROUGHPUT}/{metrics.COMPLETIONS_PER_SECOND}"),
)


@contextmanager
def _event_file(folder: RunFolder, done: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A callable that writes a record for TensorBoard, in this very thread: a full disk ends the run in one place."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import scalar

    directory = folder.path / TENSORBOARD
    directory.mkdir(exist_ok=True)
    writer = EventsWriter(str(directory / "events"))
    # TensorBoard forgets what a run that is resumed will write again.
    session = SessionLog(status=SessionLog.START)
    writer.write_event(Event(wall_time=time.time(), step=done + 1, session_log=session))

    def write(record: Mapping[str, float]) -> None:
        for key, value in record.items():
            summary = scalar(key, value)
            writer.write_event(Event(wall_time=record["time"], step=int(record["step"]), summary=summary))
        writer.flush()

    try:
        yield write
    finally:
        with contextlib.suppress(OSError):
            writer.close()


@contextmanager
def _progress(settings: RunSettings, done: int, console: Console) -> Iterator[Any]:
    """A callable that shows a record: a live bar in a terminal, a line now and then elsewhere."""
    total = settings.steps
    if not console.is_terminal:
        last = 0.0

        def show_line(record: Mapping[str, float]) -> None:
            nonlocal last
            final = record["step"] == total
            if final or record["step"] == done + 1 or time.monotonic() - last >= PLAIN_LINE_SECONDS:
                last = time.monotonic()
                console.print(f"step {record['step']:.0f}/{total}  {_figures(record)}", highlight=False, soft_wrap=True)

        yield show_line
        return
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(24),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("first step ...", total=total, completed=done)
        yield lambda record: progress.update(task, completed=record["step"], description=_figures(record))


def _figures(record: Mapping[str, float]) -> str:
    """Reward, entropy against target, temperature and speed of one step."""
    entropy = record.get("main/exact_entropy", record["main/sampled_surprisal"])
    parts = [f"reward {record['main/reward_mean']:.3f}", f"entropy {entropy:.3f}"]
    if "control/target_entropy" in record:
        parts[-1] += f" (target {record['control/target_entropy']:.3f})"
        parts += [f"{name} {record[key]:.3g}" for name in NEUTRAL if (key := f"control/{name}") in record]
    parts.append(f"{record['throughput/completions_per_second']:.0f} completions/s")
    return "  ".join(parts)


def _says(key: str, value: Any) -> bool:
    return key != GRADER_ERROR or bool(value)


def _write_samples(folder: RunFolder, algo: TextRL, settings: RunSettings, purpose: Purpose, groups: Groups) -> None:
    """The first completions of a stream with their verdicts."""
    if not purpose.learned:
        return
    for episode in list(groups.episodes)[: settings.samples_per_step * algo.config.group_size : algo.config.group_size]:
        info = episode.get_infos(-1)
        folder.append(
            SAMPLES,
            {
                "step": algo.train_steps + 1,
                "stream": purpose.name,
                "prompt": episode.get_observations(0),
                "completion": episode.get_actions(-1),
                **{
                    key: value
                    for key, value in info.items()
                    if isinstance(value, str | int | float) and _says(key, value)
                },
                **({"turns": turns} if (turns := episode.get_infos(0).get("turns")) else {}),
                "reward": episode.get_return(),
                "finish_reason": episode.get_extra_model_outputs("finish_reason", -1),
            },
        )
