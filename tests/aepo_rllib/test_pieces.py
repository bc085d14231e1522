"""A large batch is handed out in pieces to whoever is free, and streams that are asked for together are one request."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.columns import Columns
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import MAIN_STREAM, purpose_of
from aepo_rllib.sampling.sampler_side import SamplerSide
from tests.support.sampler_sides import side_of, tokens
from tests.support.small_runs import small

BATCH = RolloutRequest(MAIN_STREAM, seed=5, step=3, slots=tuple(range(16)), problems=tuple(range(16)), group_size=4)
HOT = replace(BATCH.only(range(6)), purpose=purpose_of("tempered", ("main", "tempered")), temperature=1.4)
IN_PIECES = {"engine_options": {"max_tokens_in_flight": 128}, "num_env_runners": 2}
"""One completion at a time: each runner's half of a batch comes in four pieces."""


@pytest.fixture(scope="module")
def local(ray_cluster: None) -> Iterator[SamplerSide]:
    with side_of(small(GRPOConfig())) as side:
        yield side


@pytest.fixture(scope="module")
def pair(ray_cluster: None) -> Iterator[SamplerSide]:
    """Two remote runners; whoever loses one comes last."""
    with side_of(small(GRPOConfig(), **IN_PIECES)) as side:
        yield side


def before_each_piece(does: Callable[[int, int], None]) -> Callable[[Any], None]:
    """For `ask`: runners call `does(worker_index, pieces so far)` before each piece, and note its slots by stream."""

    def watch(runner: Any) -> None:
        rollout, runner.pieces = type(runner).rollout.__get__(runner), []

        def watched(*requests: Any) -> Any:
            runner.pieces.append([(request.purpose.name, *request.slots) for request in requests])
            does(runner.worker_index, len(runner.pieces))
            return rollout(*requests)

        runner.rollout = watched

    return watch


def pieces(side: SamplerSide) -> dict[int, list[list[tuple[Any, ...]]]]:
    """What every runner was asked for, piece by piece."""
    return dict(side.ask(lambda runner: (runner.worker_index, runner.pieces)))


def test_a_small_batch_is_one_piece_for_each_runner_and_a_large_one_several(local):
    config = small(GRPOConfig()).sampling(max_new_tokens=2048)
    each = SamplerSide(local.group, config, restore=list, renew=list)._pieces
    assert [each(rows) for rows in (1, 128, 511, 512, 2560, 10**6)] == [1, 1, 1, 2, 4, 4]
    config.sampling(engine="vllm")
    assert each(10**6) == 1


def test_who_is_free_gets_the_next_piece_and_the_batch_is_the_same(local, pair):
    pair.ask(before_each_piece(lambda worker, _: time.sleep(2.0 if worker == 1 else 0.0)))
    sampled = pair.sample(BATCH)
    assert tokens(sampled) == tokens(local.sample(BATCH))
    taken = pieces(pair)
    assert len(taken[1]) < len(taken[2])
    assert sorted(slot for of in taken.values() for [piece] in of for slot in piece[1:]) == [*BATCH.slots]
    assert {len(piece) for of in taken.values() for [piece] in of} == {1 + 2}
    assert len(sampled.metrics) == len(taken[1]) + len(taken[2]) == 8
    assert sum(delivered["num_episodes"].peek() for delivered in sampled.metrics) == 64
    assert 0 < sampled.seconds[metrics.GENERATION_SECONDS] < sampled.seconds[metrics.SAMPLING_SECONDS]


def test_a_stale_runner_is_given_no_second_piece(local, pair):
    renewed: list[int] = []

    def renew(runners: list[int]) -> None:
        renewed.extend(runners)
        side.group.foreach_env_runner(take_version, remote_worker_ids=[1])

    def take_version(runner: Any) -> None:
        runner.held.take_weights(runner.engine.model.state_dict(), 9)

    side = SamplerSide(pair.group, pair.config, restore=list, renew=renew)
    side.ask(before_each_piece(lambda *_: None))
    take_version(side.group.local_env_runner)
    side.group.foreach_env_runner(take_version, local_env_runner=False, remote_worker_ids=[2])
    assert tokens(side.sample(BATCH)) == tokens(local.sample(BATCH))
    assert renewed == [1]
    assert sum(len(piece) - 1 for [piece] in pieces(side)[2]) >= 16 - 2


@pytest.mark.parametrize("where", ["local", "pair"])
def test_streams_sampled_together_are_those_sampled_one_after_the_other(local, where, request):
    side = request.getfixturevalue(where)
    apart = [local.sample(BATCH), local.sample(HOT)]
    side.ask(before_each_piece(lambda *_: None))
    together = side.sample(BATCH, HOT)
    assert tokens(together) == [groups for sampled in apart for groups in tokens(sampled)]
    for groups, alone in zip(together.groups, apart, strict=True):
        [expected] = alone.groups
        for name in (Columns.POLICY_LOGP, Columns.BEHAVIOR_LOGP):
            for left, right in zip(groups.episodes, expected.episodes, strict=True):
                found, wanted = (e.get_extra_model_outputs(name, -1) for e in (left, right))
                np.testing.assert_allclose(found, wanted, atol=1e-4)
    streams = {stream for of in pieces(side).values() for piece in of for stream, *_ in piece}
    assert streams == {"main", "tempered"}
    if where == "local":
        assert len(next(iter(pieces(side).values()))) == 1, "one request"
    logged = sum(d["num_episodes"].peek() for d in together.metrics if "num_episodes" in d)
    assert logged == 64, "of the policy itself alone"


@pytest.mark.slow
def test_after_an_error_nobody_is_given_another_piece(ray_cluster):
    def fails(worker: int, piece: int) -> None:
        time.sleep(1.0)
        if worker == 1:
            raise ZeroDivisionError("this environment is broken")

    with side_of(small(GRPOConfig(), **IN_PIECES)) as side:
        side.ask(before_each_piece(fails))
        with pytest.raises(ZeroDivisionError, match="this environment is broken"):
            side.sample(BATCH)
        taken = pieces(side)
        assert len(taken[1]) == 1
        assert len(taken[2]) <= 2


@pytest.mark.slow
def test_of_a_runner_that_dies_the_piece_at_hand_is_asked_for_again(local, pair, caplog):
    def dies(worker: int, piece: int) -> None:
        if (worker, piece) == (1, 2):
            os.kill(os.getpid(), signal.SIGKILL)

    pair.ask(before_each_piece(dies))
    assert tokens(pair.sample(BATCH)) == tokens(local.sample(BATCH))
    assert "2 groups of main are missing; asking again" in caplog.text
    assert sum(len(piece) - 1 for [piece] in pieces(pair)[2]) == 16 - 2
