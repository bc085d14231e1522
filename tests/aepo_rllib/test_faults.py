"""What goes wrong in a run: runners that die, stop or raise, graders that misjudge, numbers that are none."""

import os
import signal
import sys
import time

import gymnasium
import pytest
import ray
from ray.tune.registry import register_env

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.envs import AnyText
from aepo_rllib.envs.text_env import PROBLEM_INDEX
from aepo_rllib.experience.groups import problem_of
from aepo_rllib.learning.probe import RatioError
from aepo_rllib.rollout.request import MAIN_STREAM
from aepo_rllib.sampling import vector_envs
from aepo_rllib.sampling.capacity import CapacityError
from aepo_rllib.sampling.judged import UnjudgedError
from tests.support.small_runs import small


def test_an_engine_with_other_weights_stops_the_run(ray_cluster):
    algo = small(GRPOConfig()).build_algo()
    try:
        runner = algo.env_runner
        broken = {name: tensor * 1.01 for name, tensor in runner.engine.model.state_dict().items()}
        runner.engine.update_weights(broken, version=99)
        with pytest.raises(RatioError, match="did not sample from the learner's weights"):
            algo.train()
    finally:
        algo.stop()


def test_weights_that_cannot_be_loaded_are_not_forgotten(ray_cluster):
    """They wait for the engine; one that kept the starting weights would sample from another policy."""
    algo = small(GRPOConfig()).build_algo()
    try:
        runner = algo.env_runner
        runner.held.take_weights({}, 7)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"missing \['model.embed_tokens.weight'"):
                _ = runner.engine
        assert runner.weights_version == 7
    finally:
        algo.stop()


def test_a_grader_that_cannot_judge_stops_the_run(ray_cluster):
    """Sums whose answers need the worker processes, and no time to compare them."""
    config = small(GRPOConfig()).problems(problems="sum3", grader_deadline_s=1e-6, grader_workers=1)
    config.env_config["template"] = "plain"
    algo = config.evaluation(evaluation_interval=None).build_algo()
    try:
        algo.base_entropy = 1.0
        runner = algo.env_runner
        runner.encoder.decode = lambda token_ids: "\\boxed{\\sqrt{2}}"  # not a plain number, so math-verify is asked
        with pytest.raises(UnjudgedError, match="max_unjudged_share=20%"):
            algo.train()
    finally:
        algo.stop()


def test_a_run_whose_env_runners_are_all_lost_stops_instead_of_sampling_elsewhere(ray_cluster):
    config = small(GRPOConfig(), num_env_runners=1, env_runner_restore_timeout_s=1)
    algo = config.fault_tolerance(restart_failed_env_runners=False, ignore_env_runner_failures=True).build_algo()
    try:
        algo.train()
        [pid] = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(CapacityError, match=r"all 1 env runners are lost, .* env_runner_restore_timeout_s=1"):
            algo.train()
    finally:
        algo.stop()


@pytest.mark.slow
def test_a_stopped_env_runner_does_not_stop_the_run(ray_cluster, caplog):
    algo = small(GRPOConfig(), num_env_runners=2, sample_timeout_s=3, env_runner_health_probe_timeout_s=1).build_algo()
    group = algo.env_runner_group
    try:
        algo.train()
        [pid, _] = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        os.kill(pid, signal.SIGSTOP)
        try:
            result = algo.train()
            assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            assert "brought nothing within sample_timeout_s=3" in caplog.text
        finally:
            os.kill(pid, signal.SIGCONT)
        back, deadline = [], time.monotonic() + 120
        while pid not in back and time.monotonic() < deadline:
            result = algo.train()
            assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            back = group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        assert pid in back
    finally:
        algo.stop()


ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import a test file


class OneTurnEnv(gymnasium.Env):
    """A user's own text environment: right is the number of the problem."""

    observation_space = action_space = AnyText()
    problems = range(10)

    def __init__(self, config):
        self.config = config

    def reset(self, *, seed=None, options=None):
        self.problem = (options or {}).get(PROBLEM_INDEX, 0)
        return f"Add {self.problem} 1.", {"problem_id": f"own-{self.problem}"}

    def step(self, action):
        if self.config.get("broken"):
            raise ZeroDivisionError("this environment is broken")
        return "", float(len(action) % 2), True, False, {"problem_id": f"own-{self.problem}"}


@pytest.mark.parametrize("runners", [0])
def test_an_own_environment_is_given_each_slot_its_own_problem(ray_cluster, runners):
    register_env("one-turn", OneTurnEnv)
    algo = (
        small(GRPOConfig(), num_env_runners=runners)
        .environment("one-turn", env_config={})
        .evaluation(evaluation_interval=None)
        .build_algo()
    )
    seen = []
    algo.on_episodes = lambda stream, groups: seen.append((stream, groups))
    try:
        expected = [f"own-{index}" for index in algo.next_problems()]
        algo.train()
    finally:
        algo.stop()
    [main] = [groups for stream, groups in seen if stream == MAIN_STREAM]
    for group, problem in zip(main.episodes_PG, expected, strict=True):
        assert {problem_of(episode) for episode in group} == {problem}


@pytest.mark.parametrize("runners", [0, 1])
def test_a_broken_environment_ends_the_run_with_its_own_error(ray_cluster, runners):
    register_env("one-turn", OneTurnEnv)
    algo = (
        small(GRPOConfig(), num_env_runners=runners)
        .environment("one-turn", env_config={"broken": True})
        .evaluation(evaluation_interval=None)
        .build_algo()
    )
    started = time.monotonic()
    try:
        with pytest.raises(ZeroDivisionError, match="this environment is broken"):
            algo.train()
    finally:
        algo.stop()
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("reward", [float("nan"), 11.0, -10.5])
def test_rewards_that_are_none_are_refused_with_their_problem(ray_cluster, monkeypatch, reward):
    algo = small(GRPOConfig()).build_algo()
    step = vector_envs.step

    def rewarding(env, actions):
        observations, rewards, *rest = step(env, actions)
        rewards[3] = reward
        return observations, rewards, *rest

    monkeypatch.setattr(vector_envs, "step", rewarding)
    try:
        with pytest.raises(ValueError, match=r"gave reward \S+ for problem \S+; rewards must lie between -10 and 10"):
            algo.train()
    finally:
        algo.stop()
