"""Bringing the groups of completions that are asked for in from env runners that may fail, hang or die."""

from __future__ import annotations

import logging
import pickle
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from aepo_rllib import metrics
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import split
from aepo_rllib.sampling.capacity import CapacityError
from aepo_rllib.sampling.env_runner import TextEnvRunner
from aepo_rllib.sampling.episodes import SLOT, STREAM
from aepo_rllib.sampling.handing_out import hand_out

logger = logging.getLogger(__name__)

MAX_ROUNDS = 8


class Collected(NamedTuple):
    """All groups that were asked for.

    Attributes:
        episodes: In any order.
        metrics: RLlib's, one per delivery.
        seconds: Of the whole collection, and the slowest runner's in its engine and its environment.
    """

    episodes: list[SingleAgentEpisode]
    metrics: list[Any]
    seconds: dict[str, float]


def collect(
    group: EnvRunnerGroup,
    requests: Sequence[RolloutRequest],
    *,
    pieces: Callable[[int], int],
    timeout_s: float,
    restore: Callable[[], Any],
    renew: Callable[[Sequence[int]], Any],
    patience_s: float,
) -> Collected:
    """Sample requests together on all healthy runners; groups that one fails to bring are asked for again.

    A completion depends on its key alone, so it does not matter who samples it.

    Args:
        group: The env runners.
        requests: What to sample.
        pieces: Into how many pieces so many completions, a runner's share, are cut: it has one at a time.
        timeout_s: Seconds a runner may take for a piece.
        restore: Tries to bring lost runners back, with current weights.
        renew: Gives current weights to the runners of these indices.
        patience_s: Seconds to wait for one to come back where all of several remote runners are lost.

    Raises:
        CapacityError: none came back.
        RuntimeError: some groups never came, although healthy runners were asked again.
        Exception: whatever an env runner raised.
    """
    started = time.perf_counter()
    collected = Collected([], [], dict.fromkeys((metrics.GENERATION_SECONDS, metrics.GRADING_SECONDS), 0.0))
    missing = {(request.purpose.name, slot) for request in requests for slot in request.slots}
    wanted = len(missing)
    for _ in range(MAX_ROUNDS):
        deliveries = _ask(group, _only(requests, missing), pieces, timeout_s)
        # One that died and was restarted between two calls answers as if nothing had happened.
        if stale := [delivery.worker_index for delivery in deliveries if delivery.stale]:
            logger.warning("env runners %s were restarted, and get the current weights", stale)
            renew(stale)
        for delivery in (delivery for delivery in deliveries if not delivery.stale):
            if delivery.error is not None:
                raise delivery.error.exception from RuntimeError(delivery.error.traceback)
            collected.episodes.extend(delivery.episodes)
            collected.metrics.append(delivery.metrics)
            missing -= {(first[STREAM], first[SLOT]) for first in (e.get_infos(0) for e in delivery.episodes)}
        for name in collected.seconds:
            collected.seconds[name] += _slowest(deliveries, name)
        if not missing:
            whole = {metrics.SAMPLING_SECONDS: time.perf_counter() - started}
            return collected._replace(seconds=collected.seconds | whole)
        streams = ", ".join(sorted({stream for stream, _ in missing}))
        logger.warning("%d groups of %s are missing; asking again", len(missing), streams)
        restore()
        if group.num_remote_env_runners():
            _await_runner(group, restore, patience_s)
    raise RuntimeError(f"env runners did not deliver {len(missing)} of {wanted} groups")


class _RunnerError(NamedTuple):
    """What went wrong in an env runner. It is delivered, not raised there: RLlib takes an env runner's exceptions for
    faults to recover from, restarts the runner, and hides the cause."""

    exception: Exception
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> _RunnerError:
        """The exception that is being handled, in a form that can travel."""
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return cls(error, traceback.format_exc())


class _Delivery(NamedTuple):
    """What one env runner brings back of a piece: all of it in one call."""

    worker_index: int
    episodes: list[SingleAgentEpisode]
    metrics: Any
    seconds: dict[str, float]
    error: _RunnerError | None = None
    stale: bool = False
    """It has other weights than those that were sent last, and has sampled nothing."""


class _RolloutCall:
    """A picklable call of `_rollout`, for a runner that has the weights of this version."""

    def __init__(self, piece: Sequence[RolloutRequest], version: int) -> None:
        self.piece, self.version = piece, version

    def __call__(self, runner: TextEnvRunner) -> _Delivery:
        if runner.weights_version != self.version:
            return _Delivery(runner.worker_index, [], None, {}, stale=True)
        return _rollout(runner, self.piece)


def _rollout(runner: TextEnvRunner, piece: Sequence[RolloutRequest]) -> _Delivery:
    try:
        episodes = runner.rollout(*piece)
        runner.check_verifier()
    except Exception as error:
        if not runner.worker_index:  # in this very process: with its traceback
            raise
        return _Delivery(runner.worker_index, [], None, {}, _RunnerError.of(error))
    return _Delivery(runner.worker_index, episodes, runner.get_metrics(), runner.take_seconds())


def _await_runner(group: EnvRunnerGroup, restore: Callable[[], Any], patience_s: float) -> None:
    """Wait until a remote runner is there.

    Raises:
        CapacityError: none came within `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while not group.num_healthy_remote_env_runners():
        if time.monotonic() > deadline:
            raise CapacityError(
                f"all {group.num_remote_env_runners()} env runners are lost, and none came back within "
                f"env_runner_restore_timeout_s={patience_s:g}"
            )
        time.sleep(1.0)
        restore()


def _only(requests: Sequence[RolloutRequest], groups: set[tuple[str, int]]) -> list[RolloutRequest]:
    """What the requests ask for of these groups, by stream and slot."""
    left = [
        request.only([slot for slot in request.slots if (request.purpose.name, slot) in groups]) for request in requests
    ]
    return [request for request in left if request.slots]


def _ask(
    group: EnvRunnerGroup, requests: Sequence[RolloutRequest], pieces: Callable[[int], int], timeout_s: float
) -> list[_Delivery]:
    """What the healthy runners bring of the requests; one that brings nothing in time is asked no more."""
    if not group.num_remote_env_runners():
        return [_rollout(group.local_env_runner, requests)]
    # Where remote runners were asked for, the local one never takes over in silence: it may be many times slower.
    if not (runners := group.num_healthy_remote_env_runners()):
        return []
    rows = sum(len(request.slots) * request.group_size for request in requests)
    version = group.local_env_runner.weights_version
    return hand_out(
        group,
        [_RolloutCall(piece, version) for piece in split(requests, runners * pieces(-(-rows // runners)))],
        timeout_s=timeout_s,
        more=lambda delivery: not delivery.stale,
        stop=lambda delivery: delivery.error is not None,
    )


def _slowest(deliveries: Sequence[_Delivery], name: str) -> float:
    """Seconds of this name of the runner that took longest for all its pieces."""
    seconds: defaultdict[int, float] = defaultdict(float)
    for delivery in deliveries:
        seconds[delivery.worker_index] += delivery.seconds.get(name, 0.0)
    return max(seconds.values(), default=0.0)
