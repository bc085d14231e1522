"""An env runner tells environments of completions as they end; the episodes are the same."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from ray.tune.registry import register_env

from aepo_rllib import GRPOConfig
from aepo_rllib.envs.grading import Grader
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import MAIN_STREAM
from aepo_rllib.rollout.transformers import TransformersEngine
from aepo_rllib.sampling.env_runner import TextEnvRunner
from tests.support import own_envs
from tests.support.small_runs import small

REQUEST = RolloutRequest(MAIN_STREAM, seed=0, step=0, slots=(0, 1, 2), problems=(6, 7, 8), group_size=4)


class Expecting(own_envs.Countdown):
    """As it is, of several turns; each has to have been told of before its step."""

    told: list[str]

    def reset(self, **kwargs: Any) -> Any:
        self.told = []
        return super().reset(**kwargs)

    def expect(self, action: str) -> None:
        self.told.append(action)

    def step(self, action: str) -> Any:
        assert self.told.pop() == action
        assert not self.told
        return super().step(action)


def episodes(env: str = "") -> list[tuple]:
    """What a runner samples: prompts, texts, rewards, verdicts and log-probs."""
    config = small(GRPOConfig()).evaluation(evaluation_interval=None)
    if env:
        config.environment(env, env_config={})
    config.validate()
    runner = TextEnvRunner(config=config, worker_index=0)
    try:
        sampled = runner.rollout(REQUEST)
    finally:
        runner.stop()
    return [
        (
            each.get_observations()[0],
            list(each.get_actions()),
            list(each.get_rewards()),
            each.get_infos(-1).get("verdict"),
            [logp.tolist() for logp in each.get_extra_model_outputs("policy_logp")],
        )
        for each in sampled
    ]


def test_everything_is_graded_before_its_step_and_as_it_would_be_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, grade_batch = [], Grader.grade_batch

    def noting(self: Grader, problems: Any, completions: Any, **kwargs: Any) -> Any:
        threads.extend([threading.current_thread().name] * len(problems))
        return grade_batch(self, problems, completions, **kwargs)

    monkeypatch.setattr(Grader, "grade_batch", noting)
    ahead = episodes()
    assert threads == []  # the step has nothing left to grade, and cheap verdicts need no thread
    threads.clear()
    monkeypatch.setattr(TransformersEngine, "tells_ends", False)
    assert episodes() == ahead
    assert threads == ["MainThread"] * 12
    assert len({text for _, [text], *_ in ahead}) > 1


def test_an_environment_of_ones_own_is_told_of_every_turn() -> None:
    register_env("own/Expecting", lambda context: Expecting(**context))
    register_env("own/Countdown", lambda context: own_envs.Countdown(**context))
    told = episodes("own/Expecting")
    assert max(len(texts) for _, texts, *_ in told) > 1
    assert np.isfinite([reward for _, _, rewards, *_ in told for reward in rewards]).all()
    assert episodes("own/Countdown") == told
