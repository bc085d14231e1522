"""`--track tensorboard`, which every run has anyway: the event file of `tensorboard --logdir RUN`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from time import time
from typing import Any

from aepo_rllib.cli.run_folder import TENSORBOARD
from aepo_rllib.cli.trackers.tracker import RunInfo, Tracker


class EventFile(Tracker):
    """Writes in this very thread: a full disk ends the run in one place."""

    def __init__(self, run: RunInfo) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        super().__init__(run)
        directory = run.folder / TENSORBOARD
        directory.mkdir(exist_ok=True)
        self._writer, self._last = EventsWriter(str(directory / "events")), 0
        """And the last step that was written; 0 before the first."""

    def log(self, step: int, time: float, metrics: Mapping[str, float]) -> None:
        """Write them.

        Raises:
            OSError: it cannot be written.
        """
        from tensorboardX.summary import scalar

        if not self._last:
            self._begin(step, time)
        self._last = step
        for key, value in metrics.items():
            self._write(step, time, summary=scalar(key, value))
        self._writer.flush()

    def show(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Write them as a table of the TEXT page.

        Raises:
            OSError: it cannot be written.
        """
        from tensorboardX.summary import text

        from aepo_rllib.cli.samples import verdict_words  # loads gymnasium, which a name's check can do without

        rows = ["| prompt | completion | |", "| --- | --- | --- |"]
        for sample in samples:
            cells = sample["prompt"], sample["completion"], verdict_words(sample)
            rows.append(f"| {' | '.join(_cell(str(cell)) for cell in cells)} |")
        self._write(step, time(), summary=text("completions", "\n".join(rows)))
        self._writer.flush()

    def finish(self, *, failed: bool) -> None:
        """Close the file."""
        from tensorboardX.summary import hparams

        with contextlib.suppress(OSError):  # what could not be written has been told
            if self._last and not failed:
                *_, ended = hparams({}, {})
                self._write(self._last, time(), summary=ended)
            self._writer.close()

    def _begin(self, step: int, time: float) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.summary import hparams

        # TensorBoard forgets what a run that is resumed writes again.
        self._write(step, time, session_log=SessionLog(status=SessionLog.START))
        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in self.run.settings().items()
        }
        _, began, _ = hparams(plain, {})  # without a list of columns, TensorBoard has those of all runs
        self._write(step, time, summary=began)

    def _write(self, step: int, time: float, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time, step=step, **what))


def _cell(text: str) -> str:
    """A text of the model's as one cell, in which nothing is Markdown or HTML."""
    lines = ("".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in line) for line in text.splitlines())
    return "<br>".join(lines)
