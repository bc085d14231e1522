"""A pool of worker processes that always comes to an end.

Comparing two answers may hang or eat all memory, and only ending the process stops that. The workers are
plain subprocesses talking JSON over pipes, so that a pool works wherever Python does: unguarded scripts,
notebooks, threads, Ray actors.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from numbers import Integral, Real

from aepo_rllib.envs.grading.process import WORKER_COMMAND, Comparison, Request, WorkerProcess
from aepo_rllib.envs.grading.round import Outcome, Round
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS
from aepo_rllib.envs.verdict import Verdict

MAX_WORKERS = 1024
MAX_DEADLINE_S = 3600.0
MAX_SERVED = 10_000
"""A worker is replaced after this many requests, which bounds what one can remember or leak."""
MAX_START_FAILURES = 3
"""So many workers in a row that end by themselves before their first request cannot start at all."""
MAX_START_KILLS = 20
"""The same for workers that something else kills first, the kernel short of memory for one: that may pass."""


def check_limits(workers: int, deadline_s: float, prefix: str = "") -> None:
    """Refuse numbers that no pool can work with.

    Args:
        workers: Number of processes.
        deadline_s: Seconds a comparison may take.
        prefix: What the caller puts before these names.

    Raises:
        ValueError: not numbers, or out of range; names the argument.
    """
    if isinstance(workers, bool) or not isinstance(workers, Integral) or not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"{prefix}workers must be a whole number from 1 to {MAX_WORKERS}, not {workers!r:.80}")
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, Real) or not 0 < deadline_s <= MAX_DEADLINE_S:
        raise ValueError(
            f"{prefix}deadline_s must be a number of seconds above 0, at most {MAX_DEADLINE_S:g}, "
            f"not {deadline_s!r:.80}"
        )


class WorkerPool:
    """Compares answers in up to `workers` processes, started when first needed.

    Safe to use from several threads; their calls take turns.

    The deadline is one of the wall clock, which is what a caller waits by: it bounds a call whatever a worker does,
    sleeps and swaps included. A clock of the worker's own processor time would forgive a machine that stands still,
    but never run out for a worker that was stopped, so it would need this one beside it. What stood still is forgiven
    by a second try instead.

    Args:
        workers: Number of processes.
        deadline_s: Seconds a comparison may take before its worker is killed.
        command: What starts a worker; see `aepo_rllib.envs.grading.worker` for the protocol.
        max_served: Requests after which a worker is replaced.
        rules: What workers load from the first on; they learn of others as they are asked for.
    """

    def __init__(
        self,
        workers: int,
        deadline_s: float,
        *,
        command: Sequence[str] = WORKER_COMMAND,
        max_served: int = MAX_SERVED,
        rules: Sequence[str] = (),
    ) -> None:
        check_limits(workers, deadline_s)
        self.size = int(workers)
        self.deadline_s = float(deadline_s)
        self._command = tuple(command)
        self._max_served = max_served
        self._rules = frozenset(rules)
        self._lock = threading.Lock()
        self._workers: list[WorkerProcess] = []
        self._start_failures = self._start_kills = 0
        self._finalizer = weakref.finalize(self, _kill_all, self._workers)

    @property
    def started(self) -> bool:
        """Whether there are worker processes now."""
        return bool(self._workers)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def grade(self, comparisons: Sequence[Comparison | tuple[str, str]]) -> list[Verdict]:
        """The verdict on each comparison; a pair is one by the rule "math". See `run`."""
        return [outcome.verdict for outcome in self.run([Comparison(*comparison) for comparison in comparisons])]

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """What becomes of each request, in their order.

        One past its deadline is tried once more, when nothing else is left to judge, and then `TIMED_OUT` (at once
        after `SECOND_TRIES_DEADLINES`). One whose worker was lost is tried once more, then `CRASHED`, as is one that
        raised an error.

        Raises:
            RuntimeError: workers do not start.
            ValueError: an answer to compare is longer than any that is read.
        """
        pairs = [request for request in requests if isinstance(request, Comparison)]
        longest = max((len(text) for pair in pairs for text in (pair.gold, pair.answer)), default=0)
        if longest > MAX_ANSWER_CHARS:
            raise ValueError(f"an answer to compare has {longest} characters, more than {MAX_ANSWER_CHARS}")
        with self._lock:
            self._rules |= {request.rule for request in requests}
            return Round(self, requests).run()

    def close(self) -> None:
        """End all workers. A later `grade` starts new ones."""
        with self._lock:
            _kill_all(self._workers)

    def busy(self) -> list[WorkerProcess]:
        """Workers that hold a request."""
        return [worker for worker in self._workers if worker.request is not None]

    def renew(self) -> None:
        """End all workers, so that the next one is new; for a round in which none is at work."""
        _kill_all(self._workers)

    def prepare(self, wanted: int) -> list[WorkerProcess]:
        """The workers, after replacing dead, worn and unprepared ones and starting up to `wanted`."""
        for worker in list(self._workers):
            if worker.request is None and (worker.served >= self._max_served or not worker.alive):
                self.discard(worker)
            elif worker.request is None and not self._rules <= worker.rules:
                worker.kill()
                self._workers.remove(worker)
        while len(self._workers) < min(self.size, wanted):
            self._workers.append(WorkerProcess(self._command, self.deadline_s, self._rules))
        return self._workers

    def discard(self, worker: WorkerProcess) -> None:
        """End `worker`.

        Raises:
            RuntimeError: this and the workers before it ended before they had anything to do.
        """
        idle = not worker.served and worker.request is None
        killed = idle and worker.killed_by_signal()
        complaint = "" if worker.ready else worker.complaint()
        worker.kill()
        self._workers.remove(worker)
        if not idle:
            self._start_failures = self._start_kills = 0
        elif killed:
            self._start_kills += 1
        else:
            self._start_failures += 1
        if self._start_failures >= MAX_START_FAILURES or self._start_kills >= MAX_START_KILLS:
            self._start_failures = self._start_kills = 0
            raise RuntimeError(
                f"{MAX_START_KILLS if killed else MAX_START_FAILURES} grading workers in a row "
                f"{'were killed while they started' if killed else 'did not start'} "
                f"({' '.join(self._command)}): {complaint or 'they said nothing'}"
            )


def _kill_all(workers: list[WorkerProcess]) -> None:
    while workers:
        workers.pop().kill()
