"""`Watched`: progress that a thread reads from folders and shows, in bars or, without a terminal, in lines."""

from __future__ import annotations

import abc
import threading
import time
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aepo_rllib.cli.saying import notes

LOOK_SECONDS = 2.0
PLAIN_LINE_SECONDS = 30.0
"""Where there is no terminal, a line at most this often instead of live bars."""
BAR_WIDTH = 30
Self = TypeVar("Self", bound="Watched")


class Watched(abc.ABC):
    """Shows progress while a `with` block runs, on standard error; subclasses say what it is.

    Args:
        bar_width: In columns.
    """

    def __init__(self, *, bar_width: int = BAR_WIDTH) -> None:
        self._console = notes()
        columns = (TextColumn("{task.description}"), BarColumn(bar_width), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._last = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @abc.abstractmethod
    def _update(self) -> str:
        """Look, update the tasks of `_bar`, and say the same in a line."""

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._show()

    def _show(self) -> None:
        line = self._update()
        if not self._console.is_terminal and time.monotonic() - self._last >= PLAIN_LINE_SECONDS:
            self._last = time.monotonic()
            self._console.print(line, soft_wrap=True)

    def __enter__(self: Self) -> Self:
        self._bar.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._show()
        self._bar.stop()
