"""Evaluation while training: which problems, by whom, and that it is the same wherever it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aepo_rllib import metrics
from tests.support.small_runs import STEPS, Reference, reference_config

EPISODES = 25


def test_evaluation_uses_validation_problems_and_leaves_the_training_order_alone(reference: Reference) -> None:
    assert reference.evaluation[metrics.PASS_AT_1] == reference.evaluation["episode_return_mean"]
    assert reference.evaluation["num_episodes"] == EPISODES
    env, train_env = reference.algo.eval_env_runner.env, reference.algo.env_runner.env
    assert env.problems[0].id != train_env.problems[0].id
    assert not {problem.id for problem in train_env.problems} & {problem.id for problem in env.problems}


def note_problem(*, episode: Any, metrics_logger: Any, env_runner: Any, **kwargs: Any) -> None:
    """Log an episode's reward under its problem."""
    if env_runner.config.in_evaluation:
        metrics_logger.log_value(("rewards", episode.get_infos(-1)["problem_id"]), episode.get_return(), window=1)


def test_evaluation_by_remote_runners_is_that_of_one_process(reference: Reference) -> None:
    """Two of them share the problems; the same weights give the same answers to the same problems."""
    config = reference_config(evaluation_num_env_runners=2).callbacks(on_episode_end=note_problem)
    algo = config.build_algo()
    try:
        for _ in range(STEPS):
            algo.train()
        result = algo.evaluate()["env_runners"]
        problems = [problem.id for problem in reference.algo.eval_env_runner.env.problems]
    finally:
        algo.stop()
    rewards = {name: float(value) for name, value in result["rewards"].items()}
    assert set(rewards) == set(problems[:EPISODES])
    assert result["num_episodes"] == EPISODES
    mean = np.mean(list(rewards.values()))
    assert result[metrics.PASS_AT_1] == pytest.approx(mean)
    assert mean == pytest.approx(reference.evaluation[metrics.PASS_AT_1])
