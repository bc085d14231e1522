"""One call of a pool of workers: which request goes to whom, and what becomes of it when a worker is late or lost."""

from __future__ import annotations

import logging
import selectors
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aepo_rllib.envs.grading.process import Request, WorkerLost, WorkerProcess
from aepo_rllib.envs.verdict import Verdict

MAX_ATTEMPTS = 2
"""How often a request is tried when its worker is lost."""
SECOND_TRIES_DEADLINES = 3
"""Second tries of one call begin as long as they have judged for less than so many deadlines together.

What timed out because its worker or the machine stood still takes milliseconds when it is tried again, so that
hundreds of such comparisons fit. Answers made to hang use this up in three tries, and cost a call no more than that,
however many there are.
"""

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


class Workers(Protocol):
    """What a round needs of `aepo_rllib.envs.grading.pool.WorkerPool`."""

    deadline_s: float

    def prepare(self, wanted: int) -> list[WorkerProcess]:
        """The workers, after starting up to `wanted`."""

    def busy(self) -> list[WorkerProcess]:
        """Workers that hold a request."""

    def renew(self) -> None:
        """End all workers, so that the next one is new."""

    def discard(self, worker: WorkerProcess) -> None:
        """End a worker."""


class Round:
    """Hands out requests until each has its outcome.

    Args:
        pool: Whose workers judge; nobody else asks them meanwhile.
        requests: What to judge.
    """

    def __init__(self, pool: Workers, requests: Sequence[Request]) -> None:
        self._pool = pool
        self._requests = requests
        self._waiting = deque(range(len(requests)))
        self._attempts = [0] * len(requests)
        self._outcomes: dict[int, Outcome] = {}
        self._judged_s = 0.0
        self._spare = 0

    def run(self) -> list[Outcome]:
        """What became of each request, in their order; see `WorkerPool.run`."""
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
            self._take_replies(workers)
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

    def _take_replies(self, workers: Sequence[WorkerProcess]) -> None:
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
