"""What is asked of env runners, without an algorithm around them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.columns import Columns
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.groups import problem_of
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import MAIN_STREAM, purpose_of
from aepo_rllib.sampling.capacity import CapacityError
from aepo_rllib.sampling.episodes import SAMPLE, SLOT
from aepo_rllib.sampling.judged import UnjudgedError
from aepo_rllib.sampling.sampler_side import Health, Sampled, SamplerSide
from tests.support import own_envs
from tests.support.small_runs import small

pytestmark = pytest.mark.usefixtures("ray_cluster")  # a group of env runners starts Ray where there is none
REQUEST = RolloutRequest(MAIN_STREAM, seed=5, step=3, slots=(0, 1, 2), problems=(4, 0, 7), group_size=4)
BATCH = RolloutRequest(MAIN_STREAM, seed=5, step=3, slots=tuple(range(16)), problems=tuple(range(16)), group_size=4)
HOT = replace(BATCH.only(range(6)), purpose=purpose_of("tempered", ("main", "tempered")), temperature=1.4)
IN_PIECES = {"engine_options": {"max_tokens_in_flight": 128}, "num_env_runners": 2}
"""One completion at a time: each runner's half of a batch comes in four pieces."""


class Judged(own_envs.Sums):
    """Its completions' verdicts go round in a circle, and so do the rewards of usable ones."""

    verdicts: tuple[str, ...] = (Verdict.CORRECT.value,)
    rewards: tuple[float, ...] = (1.0,)
    turn = 0

    def __init__(self, env_config: Any = None) -> None:
        super().__init__()

    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        place, Judged.turn = Judged.turn, Judged.turn + 1
        reward = self.rewards[place % len(self.rewards)]
        return "", reward, True, False, {"verdict": self.verdicts[place % len(self.verdicts)]}


class HalfUnjudged(Judged):
    verdicts = (Verdict.CORRECT.value, Verdict.TIMED_OUT.value)


class Overpaid(Judged):
    rewards = (1.0, float("nan"))


class Listed(own_envs.Listed):
    def __init__(self, env_config: Any = None) -> None:
        super().__init__()


@contextmanager
def side_of(config: Any, **callables: Any) -> Iterator[SamplerSide]:
    """A real group of env runners, and the side that asks them."""
    config.evaluation(evaluation_interval=None).validate()
    group = EnvRunnerGroup(config=config)
    side = SamplerSide(group, config, **{"restore": lambda: None, "renew": lambda runners: None, **callables})
    try:
        yield side
    finally:
        group.stop()
        group.local_env_runner.stop()


def tokens(sampled: Sampled) -> list[list[list[list[int]]]]:
    """Completion tokens by request, slot and sample."""
    return [
        [
            [episode.get_extra_model_outputs(Columns.COMPLETION_IDS, -1).tolist() for episode in group]
            for group in groups.episodes_PG
        ]
        for groups in sampled.groups
    ]


@pytest.fixture(scope="module")
def local(ray_cluster: None) -> Iterator[SamplerSide]:
    with side_of(small(GRPOConfig())) as side:
        yield side


def test_groups_come_by_slot_and_sample_with_the_requested_problems(local):
    [groups] = local.sample(REQUEST).groups
    places = [[(e.get_infos(0)[SLOT], e.get_infos(0)[SAMPLE]) for e in group] for group in groups.episodes_PG]
    assert places == [[(slot, sample) for sample in range(4)] for slot in range(3)]
    environment = local.group.local_env_runner.env.unwrapped
    for group, problem in zip(groups.episodes_PG, REQUEST.problems, strict=True):
        assert {problem_of(episode) for episode in group} == {environment.problems[problem].id}


def test_figures_are_returned_not_logged(local):
    sampled = local.sample(REQUEST)
    [delivered] = sampled.metrics
    assert delivered["num_episodes"].peek() == 12
    assert set(sampled.seconds) == {metrics.SAMPLING_SECONDS, metrics.GENERATION_SECONDS, metrics.GRADING_SECONDS}
    parts = sampled.seconds[metrics.GENERATION_SECONDS] + sampled.seconds[metrics.GRADING_SECONDS]
    assert 0 < parts <= sampled.seconds[metrics.SAMPLING_SECONDS]


def test_the_problems_are_counted_where_the_environment_lists_them(local):
    assert local.problem_count == len(local.group.local_env_runner.env.unwrapped.problems) > 100
    with side_of(small(GRPOConfig()).environment(Listed)) as side:
        assert side.problem_count == 3
    with side_of(small(GRPOConfig()).environment(Judged)) as side:
        assert side.problem_count is None


def test_log_probs_are_those_the_completions_were_sampled_with(local):
    """And a sleeping engine wakes for them."""
    [groups] = local.sample(REQUEST).groups
    episodes = list(groups.episodes)
    sequences = [
        (
            e.get_extra_model_outputs(Columns.PROMPT_IDS, -1),
            e.get_extra_model_outputs(Columns.COMPLETION_IDS, -1).tolist(),
        )
        for e in episodes
    ]
    local.sleep()
    assert local.ask(lambda runner: runner.held.asleep) == [True]
    [(index, answers)] = local.log_probs(sequences).items()
    assert index == local.group.local_env_runner.worker_index
    for episode, logp in zip(episodes, answers, strict=True):
        np.testing.assert_allclose(logp, episode.get_extra_model_outputs(Columns.POLICY_LOGP, -1), atol=1e-4)


def test_completions_that_nobody_judged_are_shown_and_then_refused():
    shown = []
    with side_of(small(GRPOConfig()).environment(HalfUnjudged)) as side:
        with pytest.raises(UnjudgedError, match="on 50% of the completions, more than max_unjudged_share=20%"):
            side.sample(REQUEST, show=lambda *seen: shown.append(seen))
        assert [(purpose, len(groups)) for purpose, groups in shown] == [(MAIN_STREAM, 3)]
        side.config.max_unjudged_share = 0.5
        [groups] = side.sample(REQUEST).groups
        assert groups.usable_PG.float().mean() == 0.5


def test_rewards_that_are_no_numbers_are_shown_and_then_refused():
    shown = []
    refused = pytest.raises(ValueError, match="gave reward nan for problem seed-4; rewards must lie between")
    with side_of(small(GRPOConfig()).environment(Overpaid)) as side, refused:
        side.sample(REQUEST, show=lambda *seen: shown.append(seen))
    assert len(shown) == 1


def test_the_algorithms_own_process_is_one_sampler_that_is_never_lost(local):
    assert local.health() == local.health() == Health(1, None)


def test_remote_runners_sample_what_the_local_one_would_and_a_lost_one_is_told(local):
    restored: list[int] = []
    config = small(GRPOConfig(), num_env_runners=2, max_env_runner_restarts_per_hour=1)
    with side_of(config, restore=lambda: restored.extend(side.group.probe_unhealthy_env_runners())) as side:
        assert sorted(side.ask(lambda runner: runner.worker_index)) == [1, 2]
        assert side.health() == Health(2, None)
        sampled = side.sample(REQUEST)
        assert tokens(sampled) == tokens(local.sample(REQUEST))
        assert len(sampled.metrics) == 2
        [pid] = [pid for index, pid in side.ask(lambda runner: (runner.worker_index, os.getpid())) if index == 1]
        os.kill(pid, signal.SIGKILL)
        assert tokens(side.sample(REQUEST)) == tokens(sampled)
        if not restored:  # Ray may be as fast as the second round
            assert side.health() == Health(
                1, "1 of 2 env runners are left; sampling takes longer until the others are back"
            )
        deadline = time.monotonic() + 120
        while side.group.num_healthy_remote_env_runners() < 2 and time.monotonic() < deadline:
            restored.extend(side.group.probe_unhealthy_env_runners())
        assert side.health().healthy == 2
        assert restored == [1]
        side.restarted(2)
        with pytest.raises(CapacityError, match="died 3 times within an hour, too often for 2"):
            side.restarted(1)


def test_runners_with_other_weights_are_renewed_and_counted():
    renewed: list[int] = []

    def renew(runners: list[int]) -> None:
        renewed.extend(runners)
        for runner in runners:
            side.group.foreach_env_runner(
                lambda runner: runner.held.take_weights(runner.engine.model.state_dict(), 9), remote_worker_ids=[runner]
            )

    config = small(GRPOConfig(), num_env_runners=1, max_env_runner_restarts_per_hour=1)
    with side_of(config, renew=renew) as side:
        here = side.group.local_env_runner
        here.held.take_weights(here.engine.model.state_dict(), 9)
        [groups] = side.sample(REQUEST).groups
        assert len(groups) == 3
        assert renewed == [1]
        with pytest.raises(CapacityError, match="died 2 times within an hour"):
            side.restarted(1)


# --- Pieces, and streams together ---------------------------------------------------------------------------------


def before_each_piece(does: Callable[[int, int], None]) -> Callable[[Any], None]:
    """For `ask`: runners call `does(worker_index, pieces so far)` before each piece, and note its slots by stream."""

    def watch(runner: Any) -> None:
        rollout, runner.pieces = runner.rollout, []

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


def test_who_is_free_gets_the_next_piece_and_the_batch_is_the_same(local):
    with side_of(small(GRPOConfig(), **IN_PIECES)) as side:
        side.ask(before_each_piece(lambda worker, _: time.sleep(2.0 if worker == 1 else 0.0)))
        sampled = side.sample(BATCH)
        assert tokens(sampled) == tokens(local.sample(BATCH))
        taken = pieces(side)
        assert len(taken[1]) < len(taken[2])
        assert sorted(slot for of in taken.values() for [piece] in of for slot in piece[1:]) == [*BATCH.slots]
        assert {len(piece) for of in taken.values() for [piece] in of} == {1 + 2}
        assert len(sampled.metrics) == len(taken[1]) + len(taken[2]) == 8
        assert sum(delivered["num_episodes"].peek() for delivered in sampled.metrics) == 64
        assert 0 < sampled.seconds[metrics.GENERATION_SECONDS] < sampled.seconds[metrics.SAMPLING_SECONDS]


def test_of_a_runner_that_dies_the_piece_at_hand_is_asked_for_again(local, caplog):
    def dies(worker: int, piece: int) -> None:
        if (worker, piece) == (1, 2):
            os.kill(os.getpid(), signal.SIGKILL)

    with side_of(small(GRPOConfig(), **IN_PIECES)) as side:
        side.ask(before_each_piece(dies))
        assert tokens(side.sample(BATCH)) == tokens(local.sample(BATCH))
        assert "2 groups of main are missing; asking again" in caplog.text
        assert sum(len(piece) - 1 for [piece] in pieces(side)[2]) == 16 - 2


def test_after_an_error_nobody_is_given_another_piece():
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


def test_a_stale_runner_is_given_no_second_piece(local):
    renewed: list[int] = []

    def renew(runners: list[int]) -> None:
        renewed.extend(runners)
        side.group.foreach_env_runner(take_version, remote_worker_ids=[1])

    def take_version(runner: Any) -> None:
        runner.held.take_weights(runner.engine.model.state_dict(), 9)

    with side_of(small(GRPOConfig(), **IN_PIECES), renew=renew) as side:
        side.ask(before_each_piece(lambda *_: None))
        take_version(side.group.local_env_runner)
        side.group.foreach_env_runner(take_version, local_env_runner=False, remote_worker_ids=[2])
        assert tokens(side.sample(BATCH)) == tokens(local.sample(BATCH))
        assert renewed == [1]
        assert sum(len(piece) - 1 for [piece] in pieces(side)[2]) >= 16 - 2


@pytest.mark.parametrize("remote", [False, True])
def test_streams_sampled_together_are_those_sampled_one_after_the_other(local, remote):
    apart = [local.sample(BATCH), local.sample(HOT)]
    with side_of(small(GRPOConfig(), **(IN_PIECES if remote else {}))) as side:
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
        if not remote:
            assert len(next(iter(pieces(side).values()))) == 1, "one request"
        logged = sum(d["num_episodes"].peek() for d in together.metrics if "num_episodes" in d)
        assert logged == 64, "of the policy itself alone"
