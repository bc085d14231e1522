"""Ending a run in order: the first signal lets the step finish, the second one does not wait.

Signals are Ctrl-C, SIGTERM (batch systems) and SIGHUP (a terminal that is closed).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether the user, the batch system or a fault wants the run to end.

    Attributes:
        signal: The first signal that said so, or None.
        cause: What else made it end, in words, or None.
        patient: Whether the first signal waits for the step to end; until there are steps it does not.
    """

    def __init__(self, console: Console) -> None:
        self.signal: signal.Signals | None = None
        self.cause: str | None = None
        self.patient = False
        self._console = console

    def __bool__(self) -> bool:
        return self.signal is not None or self.cause is not None

    def listen(self) -> None:
        """Take over the signals, but for those that were switched off before the run (`nohup`)."""
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)

    def wait_for_steps(self) -> None:
        """From now on there is a step to wait for. Listens again: Ray has put handlers of its own in place."""
        self.patient = True
        self.listen()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler.

        Raises:
            KeyboardInterrupt: at the second signal, or where nothing is to be waited for.
        """
        if number == signal.SIGHUP:
            leave_terminal()
        first = self.signal is None
        self.signal = self.signal or signal.Signals(number)
        if not first or not self.patient:
            raise KeyboardInterrupt
        self._console.print("finishing this step; once more to stop at once", style="dim")


@contextmanager
def stop_request(console: Console) -> Iterator[StopRequest]:
    """Listen for signals during a block."""
    request = StopRequest(console)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    request.listen()
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_terminal() -> None:
    """Go on without the terminal, which is gone: writing to it would fail."""
    _to_nowhere([stream for stream in (0, 1, 2) if os.isatty(stream)])


def go_silent() -> None:
    """Go on without standard output, which nobody reads any more."""
    _to_nowhere([1])


def _to_nowhere(streams: Sequence[int]) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)
