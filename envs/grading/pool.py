"""A pool of worker processes that always comes to an end.

Comparing two answers may hang or eat all memory, and only ending the process stops that. The workers are
plain subprocesses talking JSON over pipes, so that a pool works wherever Python does: unguarded scripts,
notebooks, threads, Ray actors.
"""

from __future__ import annotations

import logging
import selectors
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

from aepo_rllib.envs.grading.process import WORKER_COMMAND, Comparison, Request, WorkerLost, WorkerProcess
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS
from aepo_rllib.envs.verdict import Verdict

MAX_WORKERS = 1024
MAX_DEADLINE_S = 3600.0
MAX_SERVED = 10_000
"""A worker is replaced after this many requests, which bounds what one can remember or leak."""
MAX_ATTEMPTS = 2
"""How often a request is tried when its worker is lost."""
SECOND_TRIES_DEADLINES = 3
"""Second tries of one call begin as long as they have judged for less than so many deadlines together.

What timed out because its worker or the machine stood still takes milliseconds when it is tried again, so that
hundreds of such comparisons fit. Answers made to hang use this up in three tries, and cost a call no more than that,
however many there are.
"""
MAX_START_FAILURES = 3
"""So many workers in a row that end by themselves before their first request cannot start at all."""
MAX_START_KILLS = 20
"""The same for workers that something else kills first, the kernel short of memory for one: that may pass."""

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        verdict: On the completion.
        reward: Zero where the verdict is unusable.
        answer: As a reward function states it; None where none does.
        error: What a worker reported; empty where it did its work.
    """

    verdict: Verdict
    reward: float
    answer: str | None = None
    error: str = ""


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
            return _Round(self, requests).run()

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


class _Round:
    """One call of `WorkerPool.run`: hands out requests until each has its outcome."""

    def __init__(self, pool: WorkerPool, requests: Sequence[Request]) -> None:
        self._pool = pool
        self._requests = requests
        self._waiting = deque(range(len(requests)))
        self._attempts = [0] * len(requests)
        self._outcomes: dict[int, Outcome] = {}
        self._judged_s = 0.0
        self._spare = 0

    def run(self) -> list[Outcome]:
        try:
            self._settle()
            self._try_again()
        finally:
            # Only an exception (Ctrl-C, say) leaves a request behind; its reply must not meet the next round.
            for worker in self._pool.busy():
                self._pool.discard(worker)
        return [self._outcomes[request] for request in range(len(self._requests))]

    def _settle(self) -> None:
        """Hand out what waits until every request has its outcome."""
        while len(self._outcomes) < len(self._requests):
            workers = self._pool.prepare(wanted=len(self._requests) - len(self._outcomes) + self._spare)
            self._hand_out(workers)
            self._collect(workers)
            self._enforce_deadlines(workers)

    def _try_again(self) -> None:
        """Judge what timed out once more, one by one, so that neither a stalled worker nor our own load decides."""
        late = [request for request, outcome in self._outcomes.items() if outcome.verdict is Verdict.TIMED_OUT]
        if late:
            self._pool.renew()  # what stopped one worker may have stopped those that wait or start, too
        self._judged_s = 0.0
        for request in late:
            if self._judged_s >= SECOND_TRIES_DEADLINES * self._pool.deadline_s:
                break
            self._spare = 0
            del self._outcomes[request]
            self._waiting.append(request)
            self._settle()

    def _hand_out(self, workers: Sequence[WorkerProcess]) -> None:
        for worker in list(workers):
            if self._waiting and worker.ready and worker.request is None:
                request = self._waiting.popleft()
                try:
                    worker.send(request, self._requests[request])
                except WorkerLost as reason:
                    self._retry(worker, reason)

    def _collect(self, workers: Sequence[WorkerProcess]) -> None:
        """Wait for the next reply or deadline, and take the replies that are there."""
        engaged = [worker for worker in workers if worker.request is not None or not worker.ready]
        patience = min((worker.due for worker in engaged), default=0.0) - time.monotonic()
        with selectors.DefaultSelector() as selector:
            for worker in engaged:
                selector.register(worker, selectors.EVENT_READ, worker)
                if worker.input is not None:
                    selector.register(worker.input, selectors.EVENT_WRITE, worker)
            events: defaultdict[WorkerProcess, int] = defaultdict(int)
            for key, event in selector.select(max(patience, 0.0)):
                events[key.data] |= event
        for worker, event in events.items():
            request = worker.request
            try:
                if event & selectors.EVENT_WRITE:
                    worker.send_more()
                reply = worker.receive() if event & selectors.EVENT_READ else None
            except WorkerLost as reason:
                self._retry(worker, reason)
                continue
            if reply is not None and request is not None:
                self._close(worker, request, _outcome(reply))

    def _enforce_deadlines(self, workers: Sequence[WorkerProcess]) -> None:
        """Replies were taken first, so that a pause of this very process costs no one the verdict."""
        for worker in list(workers):
            if (worker.ready and worker.request is None) or worker.due > time.monotonic():
                continue
            if worker.request is not None:
                self._close(worker, worker.request, Outcome(Verdict.TIMED_OUT, 0.0))
                self._spare = 1  # what stopped this worker may have stopped one that is starting, which then waits
            self._pool.discard(worker)

    def _retry(self, worker: WorkerProcess, reason: WorkerLost) -> None:
        """Replace a lost worker; its request comes next, unless it has had all its attempts."""
        request = worker.request
        if request is not None:
            logger.info("grading worker %d was lost (%s)", worker.pid, reason)
            self._attempts[request] += 1
            if self._attempts[request] >= MAX_ATTEMPTS:
                self._close(worker, request, Outcome(Verdict.CRASHED, 0.0, error=f"its worker was lost: {reason}"))
            else:
                self._waiting.appendleft(request)
        self._pool.discard(worker)

    def _close(self, worker: WorkerProcess, request: int, outcome: Outcome) -> None:
        self._outcomes[request] = outcome
        self._judged_s += time.monotonic() - worker.sent


def _outcome(reply: Mapping[str, Any]) -> Outcome:
    if "equal" in reply:
        verdict = Verdict.CORRECT if reply["equal"] is True else Verdict.WRONG
        return Outcome(verdict, verdict.reward)
    if "reward" in reply:
        return Outcome(Verdict.CORRECT if reply["correct"] else Verdict.WRONG, reply["reward"], reply["answer"])
    logger.info("grading worker reported %s", reply.get("error"))
    return Outcome(Verdict.CRASHED, 0.0, error=str(reply.get("error")))


def _kill_all(workers: list[WorkerProcess]) -> None:
    while workers:
        workers.pop().kill()
