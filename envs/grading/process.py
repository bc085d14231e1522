"""One worker process, seen from the parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aepo_rllib.envs.grading.rewards import problem_as_json
from aepo_rllib.envs.problems.problem import Problem
from aepo_rllib.envs.prompts import DEFAULT_FORM

WORKER_COMMAND = (sys.executable, "-m", "aepo_rllib.envs.grading.worker")
START_LIMIT_S = 60.0
"""How long the imports of a worker may take; usually about a second."""
EXIT_GRACE_S = 1.0
"""How long after its pipes close a process may take to have gone."""
READY = {"ready": True}
"""The first line of a worker."""
ALARM_FACTOR = 3.0
"""A worker ends itself after this many deadlines, in case nobody is left to end it."""


class Comparison(NamedTuple):
    """What a worker is asked: whether an answer equals the known one, by a rule of `aepo_rllib.envs.grading.rules`."""

    gold: str
    answer: str
    rule: str = "math"

    def as_json(self) -> dict[str, Any]:
        """As it is sent."""
        return self._asdict()


class RewardCall(NamedTuple):
    """What a worker is asked: the reward of a completion, by a function of the user's."""

    problem: Problem
    completion: str
    rule: str
    """Name of the function, see `aepo_rllib.envs.grading.rewards`."""
    form: str = DEFAULT_FORM
    """In which the prompt asked for the answer."""

    def as_json(self) -> dict[str, Any]:
        """As it is sent."""
        told = {name: getattr(self.completion, name, None) for name in ("tokens", "truncated")}
        return {
            "problem": problem_as_json(self.problem),
            "completion": self.completion,
            "rule": self.rule,
            "form": self.form,
            **told,
        }


Request = Comparison | RewardCall


class WorkerLost(Exception):
    """The process ended, or wrote something that is no reply."""


class WorkerProcess:
    """A started worker that holds at most one request.

    Attributes:
        rules: What it loads before it is ready, so that no comparison pays for that out of its time.
        ready: Whether its imports are done.
        request: The id of the request it works on, or None.
        sent: When it was handed the request, on the clock of `time.monotonic`.
        due: When the present step (start or request) has to be done, on the same clock.
        served: How many requests it has answered.
    """

    def __init__(self, command: Sequence[str], deadline_s: float, rules: Iterable[str] = ()) -> None:
        self._deadline_s = deadline_s
        self.rules = frozenset(rules)
        # A file, not a pipe: a pipe that nobody reads would block the worker.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [*command, str(ALARM_FACTOR * deadline_s), *sorted(self.rules)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal reaches the parent only
        )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        # A worker that stands still must not block us, however long the text it was sent.
        os.set_blocking(self._stdin.fileno(), False)
        self._unsent = b""
        self._unread = b""
        self.ready = False
        self.request: int | None = None
        self.sent = time.monotonic()
        self.due = self.sent + START_LIMIT_S
        self.served = 0

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def killed_by_signal(self) -> bool:
        """Whether a signal has ended the process, rather than its own program."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            # Its pipes close a moment before it can be waited for.
            return self._process.wait(timeout=EXIT_GRACE_S) < 0
        return False

    def fileno(self) -> int:
        """The descriptor that turns readable when there is a reply, or the process has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def input(self) -> int | None:
        """The descriptor that turns writable when more of the request can be sent; None when all of it has been."""
        return self._stdin.fileno() if self._unsent else None

    def send(self, number: int, request: Request) -> None:
        """Begin to hand over one request, which is due a deadline from now.

        Raises:
            WorkerLost: the process has ended.
        """
        self._unsent = json.dumps({"id": number, **request.as_json()}).encode() + b"\n"
        self.request, self.sent = number, time.monotonic()
        self.due = self.sent + self._deadline_s
        self.send_more()

    def send_more(self) -> None:
        """Hand over as much as the pipe takes.

        Raises:
            WorkerLost: the process has ended.
        """
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._stdin.fileno(), self._unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError as error:
            raise WorkerLost("it closed its input") from error

    def receive(self) -> dict[str, Any] | None:
        """The reply that has come in; None for the word that it is ready, and for half a line.

        Raises:
            WorkerLost: see there.
        """
        chunk = os.read(self.fileno(), 65_536)
        self._unread += chunk
        if not chunk:
            raise WorkerLost("it ended")
        if not self._unread.endswith(b"\n"):
            return None
        line, self._unread = self._unread, b""
        try:
            reply = json.loads(line)
        except ValueError as error:
            raise WorkerLost(f"it wrote {line[:80]!r}") from error
        if not self.ready and reply == READY:
            self.ready = True
            return None
        if self.request is None or not isinstance(reply, dict) or reply.get("id") != self.request:
            raise WorkerLost(f"it wrote {line[:80]!r}")
        self.request = None
        self.served += 1
        return reply

    def kill(self) -> None:
        """End the process at once and wait until it has gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its children too: it began a session of its own
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def complaint(self) -> str:
        """The end of what it wrote to standard error while starting."""
        self._stderr.seek(0)
        return self._stderr.read()[-2000:].decode(errors="replace").strip()


def _environment() -> dict[str, str]:
    """The parent's environment, made to import the same modules and to reach the same verdicts every time."""
    return {
        "SYMPY_GROUND_TYPES": "python",  # with gmpy2, where that happens to be installed, other answers time out
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONSAFEPATH": "1",  # a random.py in the working directory is not the one meant
        "PYTHONHASHSEED": "0",  # sympy orders terms by hash
    }
