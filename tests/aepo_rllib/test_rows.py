"""Rows of graded episodes, and the columns of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from aepo_rllib.columns import Columns
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import Row, columns_of, rows_of

ROWS = [
    Row([7, 8, 9], np.array([1, 2]), np.array([-0.1, -0.2]), 0.5, 0, weights=(0.25, 0.0), mean_weight=0.125),
    Row([5], np.array([3, 4, 6]), np.array([-0.3, -0.4, -0.6]), -1.0, 1, weights=(0.0, 0.75)),
    Row([7, 8, 9], np.array([2]), np.array([-0.7]), 2.0, 0, weights=(0.5, 0.0), mean_weight=0.5),
]


def test_columns_are_padded_left_for_prompts_and_right_for_completions() -> None:
    columns = columns_of(ROWS)
    assert columns[Columns.PROMPT_IDS].tolist() == [[7, 8, 9], [0, 0, 5], [7, 8, 9]]
    assert columns[Columns.PROMPT_MASK].tolist() == [[True] * 3, [False, False, True], [True] * 3]
    assert columns[Columns.COMPLETION_IDS].tolist() == [[1, 2, 0], [3, 4, 6], [2, 0, 0]]
    assert columns[Columns.COMPLETION_MASK].tolist() == [[True, True, False], [True] * 3, [True, False, False]]
    logp = [[-0.1, -0.2, 0], [-0.3, -0.4, -0.6], [-0.7, 0, 0]]
    np.testing.assert_allclose(columns[Columns.POLICY_LOGP], logp, rtol=1e-6)
    np.testing.assert_allclose(columns[Columns.OLD_LOGP], logp, rtol=1e-6)  # nobody asked the learner
    assert columns[Columns.PROMPT_INDEX].tolist() == [0, 1, 0]
    assert columns[Columns.ADVANTAGE].tolist() == [[0.5, 0.5, 0], [-1, -1, -1], [2, 0, 0]]
    assert columns[Columns.WEIGHT].tolist() == [[0.25, 0], [0, 0.75], [0.5, 0]]
    assert columns[Columns.MEAN_WEIGHT].tolist() == [0.125, 0, 0.5]
    assert columns[Columns.STREAM].tolist() == [0, 1, 0]
    assert not columns.keys() & {Columns.FACTOR, Columns.REF_LOGP, Columns.HEATED_LOGP}


def test_columns_that_some_rows_have_are_filled_up_for_the_others() -> None:
    rows = [
        replace(ROWS[0], old_logp=np.array([-1.0, -2.0]), ref_logp=np.array([-3.0, -4.0])),
        replace(ROWS[1], factors=np.array([2.0, 3.0, 4.0]), heated_logp=np.array([-5.0, -6.0, -7.0])),
        replace(ROWS[2], factors=np.array([[8.0], [9.0]])),
    ]
    columns = columns_of(rows)
    assert columns[Columns.OLD_LOGP][0].tolist() == [-1, -2, 0]
    np.testing.assert_allclose(columns[Columns.OLD_LOGP][1:], [[-0.3, -0.4, -0.6], [-0.7, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(columns[Columns.POLICY_LOGP][0], [-0.1, -0.2, 0], rtol=1e-6)
    assert columns[Columns.REF_LOGP].tolist() == [[-3, -4, 0], [0, 0, 0], [0, 0, 0]]
    assert columns[Columns.HEATED_LOGP].tolist() == [[0, 0, 0], [-5, -6, -7], [0, 0, 0]]
    # Of all terms alike, or of each.
    assert columns[Columns.FACTOR][0].tolist() == [[1, 1, 1]] * 2
    assert columns[Columns.FACTOR][1].tolist() == [[2, 3, 4]] * 2
    assert columns[Columns.FACTOR][2, :, 0].tolist() == [8, 9]


def test_an_advantage_may_be_one_for_every_token() -> None:
    per_token = [replace(ROWS[0], advantage=np.array([0.5, -0.5])), ROWS[1], replace(ROWS[2], advantage=np.zeros(1))]
    assert columns_of(per_token)[Columns.ADVANTAGE].tolist() == [[0.5, -0.5, 0], [-1, -1, -1], [0, 0, 0]]
    assert [row.has_advantage for row in per_token] == [True, True, False]


def test_no_rows_are_a_batch_of_one_without_weight() -> None:
    columns = columns_of([])
    assert {len(column) for column in columns.values()} == {1}
    assert not columns[Columns.WEIGHT].any()
    assert columns[Columns.MEAN_WEIGHT].tolist() == [0]


def graded_episode(verdict: Verdict, turns: int = 1) -> SingleAgentEpisode:
    episode = SingleAgentEpisode()
    episode.add_env_reset(observation="problem", infos={})
    for turn in range(turns):
        episode.add_env_step(
            observation="",
            action="answer",
            reward=verdict.reward if turn == turns - 1 else 0.0,
            infos={"verdict": verdict.value},
            terminated=turn == turns - 1,
            extra_model_outputs={
                Columns.PROMPT_IDS: [1, 2 + turn],
                Columns.COMPLETION_IDS: np.array([3, 4 + turn]),
                Columns.POLICY_LOGP: np.array([-0.5, -0.25], dtype=np.float32),
            },
        )
    return episode


def test_rows_of_judged_episodes_carry_their_advantage_and_stream() -> None:
    groups = Groups(
        [
            [graded_episode(Verdict.CORRECT), graded_episode(Verdict.TIMED_OUT), graded_episode(Verdict.NO_ANSWER)],
            [graded_episode(Verdict.CRASHED), graded_episode(Verdict.WRONG), graded_episode(Verdict.CORRECT)],
        ]
    )
    assert groups.rewards_PG.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert groups.usable_PG.tolist() == [[True, False, True], [False, True, True]]
    advantages_PG = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    rows = rows_of(groups, advantages_PG, stream=1, tempered=True)
    assert [[row.advantage for row in group] for group in rows] == [[1.0, 3.0], [5.0, 6.0]]
    row = rows[0][0]
    assert (list(row.prompt_ids), row.completion_ids.tolist(), row.policy_logp.tolist()) == (
        [1, 2],
        [3, 4],
        [-0.5, -0.25],
    )
    assert {(row.stream, row.tempered) for group in rows for row in group} == {(1, True)}


def test_every_turn_of_an_episode_is_a_row() -> None:
    (rows,) = rows_of(Groups([[graded_episode(Verdict.CORRECT, turns=3)]]), [[0.5]], stream=0)
    assert [list(row.prompt_ids) for row in rows] == [[1, 2], [1, 3], [1, 4]]
    assert [row.advantage for row in rows] == [0.5] * 3
    assert not any(row.tempered for row in rows)
