"""Where a run is shown while it goes on: its own event file, and what `--track` names."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from aepo_rllib.cli.errors import InputError
from aepo_rllib.cli.failing import cause_of
from aepo_rllib.cli.run_folder import RunFolder
from aepo_rllib.cli.trackers.event_file import EventFile
from aepo_rllib.cli.trackers.tracker import RunInfo, Tracker
from aepo_rllib.support.packages import check_packages
from aepo_rllib.support.plugins import TRACKERS_GROUP, Lazy, find

logger = logging.getLogger(__name__)

TRACKERS = Lazy(
    {
        "tensorboard": "aepo_rllib.cli.trackers.event_file:EventFile",  # which every run has
        "wandb": "aepo_rllib.cli.trackers.weights_and_biases:WeightsAndBiases",
        "mlflow": "aepo_rllib.cli.trackers.mlflow_run:MLflowRun",
    }
)


def tracker_class(name: str) -> type[Tracker]:
    """The class that a name stands for.

    Raises:
        ValueError: there is none, or it lacks a package here.
    """
    found: type[Tracker] = find("tracker", name, TRACKERS, TRACKERS_GROUP, kind="class", base=Tracker)
    check_packages("tracker", name, found.NEEDS)
    return found


class Trackers:
    """All of a run's. One that fails is told and left: the folder has everything.

    Args:
        own: The event file, whose failure is the run's.

    Attributes:
        interrupted: Whether the run ends before its time.
    """

    def __init__(self, own: EventFile) -> None:
        self.interrupted = False
        self._own, self._others = own, dict[str, Tracker]()

    def add(self, name: str) -> None:
        """Show the run there, too, where it is not already.

        Raises:
            InputError: it cannot be; names the tracker.
        """
        try:
            if (kind := tracker_class(name)) is not EventFile:
                self._others[name] = kind(self._own.run)
        except Exception as error:  # of whatever library
            raise InputError(f"tracker {name}: {cause_of(error)}") from error

    def log(self, record: Mapping[str, float]) -> None:
        """A record of metrics.jsonl.

        Raises:
            OSError: the event file cannot be written.
        """
        step, time = int(record["step"]), record["time"]
        metrics = {key: value for key, value in record.items() if key not in ("step", "time")}
        self._own.log(step, time, metrics)
        self._tell(lambda tracker: tracker.log(step, time, metrics))

    def show(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Some completions.

        Raises:
            OSError: the event file cannot be written.
        """
        if samples:
            self._own.show(step, samples)
            self._tell(lambda tracker: tracker.show(step, samples))

    def finish(self, *, failed: bool) -> None:
        """The run has ended."""
        self._own.finish(failed=failed)
        self._tell(lambda tracker: tracker.finish(failed=failed))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._others.items()):
            try:
                what(tracker)
            except Exception as error:
                del self._others[name]
                logger.warning("tracker %s: %s; the run is no longer shown there", name, cause_of(error))
                with contextlib.suppress(Exception):
                    tracker.finish(failed=True)


@contextmanager
def tracked(folder: RunFolder, names: Sequence[str]) -> Iterator[Trackers]:
    """Trackers for the length of a run.

    Args:
        folder: The run's.
        names: Those beside the event file.

    Raises:
        InputError: one cannot be used; names it.
    """
    config, run_id = folder.config_and_id()
    name = f"{run_id}-{folder.path.resolve().name}" if run_id else ""
    trackers, failed = Trackers(EventFile(RunInfo(folder.path, name, config))), True
    try:
        for tracker in dict.fromkeys(names):
            trackers.add(tracker)
        yield trackers
        failed = trackers.interrupted
    finally:
        trackers.finish(failed=failed)
