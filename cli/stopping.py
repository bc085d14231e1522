"""Ending a run in order: the first Ctrl-C or SIGTERM lets the step finish, the second one does not wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console


class StopRequest:
    """Whether the user, or the batch system, wants the run to end.

    Attributes:
        signal: The first signal that said so, or None.
    """

    def __init__(self, console: Console) -> None:
        self.signal: signal.Signals | None = None
        self._console = console

    def __bool__(self) -> bool:
        return self.signal is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler.

        Raises:
            KeyboardInterrupt: at the second signal.
        """
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        self._console.print("finishing this step; once more to stop at once", style="dim")


@contextmanager
def stop_request(console: Console) -> Iterator[StopRequest]:
    """Listen for SIGINT and SIGTERM during a block."""
    request = StopRequest(console)
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
