"""Episodes of several turns, from the environment to the gradient: every turn is a row, and all share one advantage."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from aepo_rllib import GRPOConfig
from aepo_rllib.columns import Columns
from aepo_rllib.experience.groups import Groups
from aepo_rllib.rollout.request import MAIN_STREAM
from tests.support import own_envs
from tests.support.layouts import columns_of, rows_of
from tests.support.small_runs import small


class Echo(own_envs.Sums):
    """1-3 turns; every later observation repeats what was said. The reward comes at the end, and differs by answer."""

    def __init__(self, env_config: dict[str, Any]) -> None:
        super().__init__(**env_config)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        text, info = super().reset(seed=seed)
        self.left, self.said = 1 + (seed or 0) % 3, 0
        return text, info

    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.left, self.said = self.left - 1, self.said + len(action)
        reward = 0.0 if self.left else float(self.said % 2)
        return f"Add {self.said % 7} {self.left} 1.", reward, not self.left, False, {}


def expected_rows(groups: Groups, encode: Any) -> dict[tuple[tuple[int, ...], tuple[int, ...]], set[float]]:
    """(prompt, completion) of every turn whose group has an advantage, with the advantages it may have, by hand."""
    rows = defaultdict(set)
    for episodes in groups.episodes_PG:
        returns = np.array([episode.get_return() for episode in episodes])
        if returns.std() == 0:
            continue
        for episode, advantage in zip(episodes, (returns - returns.mean()) / returns.std(ddof=1), strict=True):
            observations = episode.get_observations()
            completions = episode.get_extra_model_outputs(Columns.COMPLETION_IDS)
            for observation, completion in zip(observations[: len(episode)], completions, strict=True):
                rows[tuple(encode(observation)), tuple(completion.tolist())].add(round(float(advantage), 3))
    return rows


def test_every_turn_is_learned_from_with_the_advantage_of_its_episode(ray_cluster: None) -> None:
    config = (
        small(GRPOConfig(), batch_size=12, updates_per_batch=1).environment(Echo).evaluation(evaluation_interval=None)
    )
    algo = config.build_algo()
    update, sampled, batches = algo.learner_group.update, {}, []

    def watched(*, training_data: Any, **kwargs: Any) -> Any:
        batches.extend(columns_of(training_data))
        return update(training_data=training_data, **kwargs)

    algo.learner_group.update, algo.on_episodes = watched, sampled.__setitem__
    try:
        algo.train()
        encode = algo.env_runner.encoder.encode
    finally:
        algo.stop()
    groups = sampled[MAIN_STREAM]
    assert {len(episode) for episode in groups.episodes} == {1, 2, 3}
    expected = expected_rows(groups, encode)
    [columns] = batches
    rows = [(tuple(prompt), tuple(completion)) for prompt, completion, _ in rows_of(columns)]
    assert set(rows) == set(expected)
    assert len(rows) > len({episode.id_ for episode in groups.episodes})
    advantages = np.array(columns[Columns.ADVANTAGE])[:, 0]
    for row, advantage in zip(rows, advantages, strict=True):
        assert any(float(advantage) == pytest.approx(each, abs=2e-3) for each in expected[row])
