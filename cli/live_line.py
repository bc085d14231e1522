"""The line that tells how a run stands: step, time left, reward, entropy and target, the dial, the last validation.

A terminal has it live, with as much detail as there is room for; elsewhere it is a line now and then.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aepo_rllib import metrics
from aepo_rllib.control.dial_loop import NEUTRAL

PLAIN_LINE_SECONDS = 10.0
"""Where there is no terminal, a line at most this often; the first and last step and validations have one besides."""
PACE_STEPS = 20
"""The time that is left is foretold from so many steps."""
BAR = 24
SYMBOLS = {"temperature": "T"}
VALIDATION = metrics.LOGGED_PASS_AT_1

Record = Mapping[str, Any]


class RunLine:
    """How a run stands, in a line that fits where it is shown.

    Args:
        steps: Of the whole run.
        records: Of the steps that were done before.
        clock: Seconds.
    """

    def __init__(self, steps: int, records: Sequence[Record] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.steps, self._clock = steps, clock
        self._done = len(records)
        self._record: Record = {}
        self._doing = ""
        self._validated: tuple[int, float] | None = None
        for record in records:
            self._note_validation(record)
        self._began = clock()
        self._times = deque([self._began], maxlen=PACE_STEPS + 1)

    def doing(self, what: str) -> None:
        """Say what goes on where that is no step."""
        self._doing = what

    def begin_steps(self) -> None:
        """What has been done until now tells nothing of how long steps take."""
        self._times.clear()
        self._times.append(self._clock())
        self._doing = "first step ..."

    def update(self, record: Record) -> None:
        """A step is done."""
        self._record, self._done, self._doing = record, int(record["step"]), ""
        self._times.append(self._clock())
        self._note_validation(record)

    def _note_validation(self, record: Record) -> None:
        if VALIDATION in record:
            self._validated = int(record["step"]), record[VALIDATION]

    @property
    def seconds_left(self) -> float | None:
        """By the pace of the last steps; None before the first."""
        taken = len(self._times) - 1
        return (self._times[-1] - self._times[0]) / taken * (self.steps - self._done) if taken else None

    def text(self, width: int | None = None) -> str:
        """The fullest wording that has room in so many cells, or the shortest; None asks for all."""
        wordings = [self._wording(detail) for detail in (3, 2, 1, 0)]
        return next((text for text in wordings if width is None or cell_len(text) <= width), wordings[-1])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """With a bar where there is room."""
        room = options.max_width
        text = self.text()
        if cell_len(text) + BAR + 1 > room:
            yield Text(self.text(room), no_wrap=True, overflow="ellipsis")
            return
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(total=self.steps, completed=self._done, width=BAR), text)
        yield line

    def _wording(self, detail: int) -> str:
        """The essentials come first: what a narrow terminal cuts off is the rest.

        Args:
            detail: 3 tells all; 2 leaves out what is no essential, 1 shortens, 0 abbreviates.
        """
        record, long = self._record, detail >= 2
        left = self.seconds_left
        parts = [
            f"{'step ' if long else ''}{self._done}/{self.steps}",
            f"{duration(left)} left" if left is not None and self._done < self.steps else "",
            self._doing,
        ]
        if record:
            parts += [f"{'reward' if detail else 'R'} {record[f'{metrics.MAIN}/{metrics.REWARD_MEAN}']:.3f}"]
            parts += [entropy_words(record, long=long, name="entropy" if detail else "H"), dial_setting(record)]
        if self._validated is not None:
            step, score = self._validated
            parts.append(f"pass@1 {score:.3f}" + (f" (step {step})" if long else ""))
        if record and detail == 3:
            parts.append(f"{record[f'{metrics.THROUGHPUT}/{metrics.COMPLETIONS_PER_SECOND}']:.0f} completions/s")
        return "  ".join(filter(None, parts))


def duration(seconds: float) -> str:
    """ "0:01:23", "2 d 3 h"."""
    whole = timedelta(seconds=round(seconds))
    return f"{whole.days} d {whole.seconds // 3600} h" if whole.days else str(whole)


def entropy_of(record: Record) -> float:
    """At T = 1, exact where the engine sees logits, in nats per token."""
    return float(next(record[name] for name in metrics.LOGGED_ENTROPIES if name in record))


def entropy_words(record: Record, *, long: bool, name: str = "entropy") -> str:
    """ "entropy 0.861 (target 0.437)", or "entropy 0.861/0.437"."""
    target = record.get(f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}")
    words = f"{name} {entropy_of(record):.3f}"
    if target is None:
        return words
    return f"{words} (target {target:.3f})" if long else f"{words}/{target:.3f}"


def dial_setting(record: Record) -> str:
    """ "T 1.20", or what else a method's dial turns; "" where it has none."""
    settings = {name: record[key] for name in NEUTRAL if (key := f"{metrics.CONTROL}/{name}") in record}
    return "  ".join(f"{SYMBOLS.get(name, name.replace('_', ' '))} {value:.3g}" for name, value in settings.items())


@contextmanager
def run_line(steps: int, records: Sequence[Record], console: Console) -> Iterator[LineOnScreen]:
    """Show a run's line during a block."""
    line = RunLine(steps, records)
    if not console.is_terminal:
        yield PlainLines(line, console)
        return
    with Live(line, console=console) as live:
        yield LineOnScreen(line, live.refresh)


class LineOnScreen:
    """A line that is drawn several times a second, for the time that is left."""

    def __init__(self, line: RunLine, refresh: Callable[[], None]) -> None:
        self.line, self._refresh = line, refresh

    def doing(self, what: str) -> None:
        """Say what goes on where that is no step."""
        self.line.doing(what)
        self._refresh()

    def begin_steps(self) -> None:
        """The first step begins."""
        self.line.begin_steps()

    def update(self, record: Record) -> None:
        """A step is done."""
        self.line.update(record)


class PlainLines(LineOnScreen):
    """Lines in a log: what goes on, then a step now and then."""

    def __init__(self, line: RunLine, console: Console) -> None:
        super().__init__(line, lambda: console.print(line.text(), soft_wrap=True))
        self._printed = 0.0

    def update(self, record: Record) -> None:
        """A step is done; it is told where it is time to, or there is news."""
        first = not self._printed
        super().update(record)
        due = time.monotonic() - self._printed >= PLAIN_LINE_SECONDS
        if first or due or VALIDATION in record or record["step"] == self.line.steps:
            self._printed = time.monotonic()
            self._refresh()
