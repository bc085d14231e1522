"""Handing calls out to env runners as they get free: a slow one takes fewer, and nobody waits for it before the end."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ray.rllib.env.env_runner_group import EnvRunnerGroup

from aepo_rllib.rllib_seam import ask_no_more

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
LOOK_EVERY_S = 0.05
"""RLlib waits for all answers under way or for so long: the most that a runner idles before it gets its next call."""


def hand_out(
    group: EnvRunnerGroup,
    calls: Sequence[Callable[[Any], Answer]],
    *,
    timeout_s: float,
    more: Callable[[Answer], bool],
    stop: Callable[[Answer], bool],
) -> list[Answer]:
    """Have the healthy remote runners make calls, each one at a time, the next when it has answered.

    A runner that dies or takes too long is asked no more, and its call is not made again here.

    Args:
        group: The env runners.
        calls: What to call with a runner.
        timeout_s: Seconds a call may take.
        more: Whether whoever gave this answer gets another call.
        stop: Whether nobody does any more; what is under way is waited for.

    Returns:
        The answers that came, in the order of the calls.
    """
    waiting, idle = deque(enumerate(calls)), deque(group.healthy_env_runner_ids())
    tag, answers = uuid.uuid4().hex, dict[int, Answer]()
    at_work: dict[int, tuple[int, float]] = {}  # runner: place of its call, and until when it may take
    while True:
        while waiting and idle:
            runner, (place, call) = idle.popleft(), waiting.popleft()
            group.foreach_env_runner_async(call, tag, remote_worker_ids=[runner])
            at_work[runner] = place, time.monotonic() + timeout_s
        if not at_work:
            return [answers[place] for place in sorted(answers)]
        for runner, answer in group.fetch_ready_async_reqs(tags=tag, timeout_seconds=LOOK_EVERY_S):
            answers[at_work.pop(runner)[0]] = answer
            if stop(answer):
                waiting.clear()
            elif more(answer):
                idle.append(runner)
        healthy = set(group.healthy_env_runner_ids())
        for runner, (_, end) in list(at_work.items()):
            if runner not in healthy or time.monotonic() > end:
                logger.warning("env runner %d died, or brought nothing within sample_timeout_s=%g", runner, timeout_s)
                ask_no_more(group, runner)
                del at_work[runner]
