"""What is asked of env runners, without an algorithm around them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.columns import Columns
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.groups import problem_of
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import MAIN_STREAM
from aepo_rllib.sampling.capacity import CapacityError
from aepo_rllib.sampling.episodes import SAMPLE, SLOT
from aepo_rllib.sampling.judged import UnjudgedError
from aepo_rllib.sampling.sampler_side import Health, SamplerSide
from tests.support import own_envs
from tests.support.sampler_sides import side_of, tokens
from tests.support.small_runs import small

pytestmark = pytest.mark.usefixtures("ray_cluster")  # a group of env runners starts Ray where there is none
REQUEST = RolloutRequest(MAIN_STREAM, seed=5, step=3, slots=(0, 1, 2), problems=(4, 0, 7), group_size=4)


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


@pytest.mark.slow
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
