"""How many samples are drawn: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_LINE_SECONDS = 10.0
"""Where there is no terminal, a line at most this often, and one at the end where it took so long."""


@contextmanager
def sample_progress(
    total: int,
    *,
    disabled: bool = False,
    label: str = "sampling",
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int], None]]:
    """Show how far a block has come. The value is to be called with what was done; first with what was there before.

    Args:
        total: Samples in all.
        disabled: Show nothing.
        label: What is being done.
        console: Where; standard error unless told otherwise.
        clock: Seconds.
    """
    console = console or Console(stderr=True)
    if disabled or not console.is_terminal:
        yield _Lines(total, label, None if disabled else console, clock)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(label, total=total)
        yield lambda done: progress.advance(bar, done)


class _Lines:
    """Lines with what is done and, by the pace since the first call, how long the rest will take."""

    def __init__(self, total: int, label: str, console: Console | None, clock: Callable[[], float]) -> None:
        self._total, self._label, self._console, self._clock = total, label, console, clock
        self._done = self._before = 0
        self._start = self._last = clock()
        self._begun = False

    def __call__(self, done: int) -> None:
        self._done += done
        now = self._clock()
        if not self._begun:
            self._begun, self._before, self._start, self._last = True, self._done, now, now
            if 0 < self._before < self._total:
                self._print(f"{self._before:,} of {self._total:,} samples are there already")
        elif done and self._done >= self._total and now - self._start >= PLAIN_LINE_SECONDS:
            self._print(f"{self._done:,} of {self._total:,} samples, in {_duration(now - self._start)}")
        elif done and now - self._last >= PLAIN_LINE_SECONDS:
            self._last = now
            pace = (self._done - self._before) / (now - self._start)
            left = _duration((self._total - self._done) / pace)
            share = f"{self._done / self._total:.0%}"
            self._print(f"{self._done:,} of {self._total:,} samples ({share}), about {left} left")

    def _print(self, text: str) -> None:
        if self._console is not None:
            self._console.print(f"{self._label}: {text}", highlight=False, markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
