"""Dealing rows to optimizer steps and learners: any split gives the same gradient."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from aepo_rllib.columns import Columns
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.dealing import Row, RowGroups, columns_of, deal, rows_of
from aepo_rllib.experience.groups import Groups
from aepo_rllib.objectives.losses import AGGREGATIONS, Component, clipped_surrogate, composed_loss, reinforce

VOCABULARY = 5
MAX_LENGTH = 7
MICRO_BATCH = 2
LIMITS = {"max_length": MAX_LENGTH, "micro_batch_size": MICRO_BATCH}
ALPHA = 0.5
COMPONENTS = [Component(partial(clipped_surrogate, low=0.2, high=0.28)), Component(reinforce, ALPHA)]


def random_stream(
    generator: np.random.Generator, *, groups: int, group_size: int, component: int, share_with_gradient: float
) -> RowGroups:
    """Groups of rows with random lengths; only some rows carry an advantage."""
    stream: RowGroups = []
    for group in range(groups):
        rows = []
        for _ in range(group_size):
            length = int(generator.integers(1, MAX_LENGTH + 1))
            carries = generator.random() < share_with_gradient
            advantage = (1.0 if component else float(generator.normal())) if carries else 0.0
            completion_ids = generator.integers(VOCABULARY, size=length)
            policy_logp = -generator.random(length) * 3
            rows.append(Row([group % VOCABULARY] * (1 + group % 3), completion_ids, policy_logp, advantage, component))
        stream.append(rows)
    return stream


def batch_gradient(rows: list[Row], table_VV: torch.Tensor) -> torch.Tensor:
    """Gradient of a learner's loss w.r.t. a bigram policy, as the learner computes it."""
    batch = {name: torch.from_numpy(column) for name, column in columns_of(rows).items()}
    parameters_VV = table_VV.clone().requires_grad_()
    completion_ids = batch[Columns.COMPLETION_IDS]
    context_ids = torch.cat([batch[Columns.PROMPT_IDS][:, -1:], completion_ids[:, :-1]], dim=1)
    logp_NT = parameters_VV.log_softmax(-1)[context_ids, completion_ids]
    loss, _ = composed_loss(
        COMPONENTS,
        batch[Columns.COMPONENT],
        logp_NT,
        batch[Columns.POLICY_LOGP].double(),
        batch[Columns.ADVANTAGE].double(),
        batch[Columns.COMPLETION_MASK],
        batch[Columns.WEIGHT].double(),
    )
    return torch.autograd.grad(loss, parameters_VV)[0]


def mean_gradient(learners: list[list[Row]], table_VV: torch.Tensor) -> torch.Tensor:
    """What DDP makes of the learners' gradients."""
    return torch.stack([batch_gradient(rows, table_VV) for rows in learners]).mean(0)


def reference_gradient(streams: list[RowGroups], table_VV: torch.Tensor, aggregation: str) -> torch.Tensor:
    """The gradient from the definition, row by row and token by token."""
    parameters_VV = table_VV.clone().requires_grad_()
    logp_VV = parameters_VV.log_softmax(-1)
    loss = 0.0 * parameters_VV.sum()
    for component, stream in enumerate(streams):
        rows = [row for group in stream for row in group]
        tokens = sum(len(row.completion_ids) for row in rows)
        micro_batches = -(-len(rows) // MICRO_BATCH)
        for position, row in enumerate(rows):
            first = position // MICRO_BATCH * MICRO_BATCH
            neighbours = sum(len(other.completion_ids) for other in rows[first : first + MICRO_BATCH])
            row_loss = torch.tensor(0.0, dtype=torch.float64)
            for place, token in enumerate(row.completion_ids):
                context = row.completion_ids[place - 1] if place else row.prompt_ids[-1]
                logp = logp_VV[int(context), int(token)]
                if component:
                    row_loss = row_loss - ALPHA * row.advantage * logp
                else:
                    ratio = (logp - float(row.policy_logp[place])).exp()
                    row_loss = row_loss - torch.minimum(ratio * row.advantage, ratio.clamp(0.8, 1.28) * row.advantage)
            share = {
                "token-mean": 1 / tokens,
                "seq-mean-token-mean": 1 / (len(rows) * len(row.completion_ids)),
                "seq-mean-token-sum-norm": 1 / (len(rows) * MAX_LENGTH),
                "micro-batch-token-mean": 1 / (micro_batches * neighbours),
            }[aggregation]
            loss = loss + share * row_loss
    return torch.autograd.grad(loss, parameters_VV)[0]


def shuffled(streams: list[RowGroups], generator: np.random.Generator) -> list[RowGroups]:
    """The same groups in another order, and the same rows in another order within them."""

    def permuted(items: list) -> list:
        return [items[i] for i in generator.permutation(len(items))]

    return [permuted([permuted(group) for group in stream]) for stream in streams]


@settings(deadline=None, max_examples=60)
@given(
    main_groups=st.integers(0, 5),
    tempered_groups=st.integers(0, 4),
    group_size=st.integers(1, 5),
    learners=st.integers(1, 4),
    aggregation=st.sampled_from(AGGREGATIONS),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_any_split_over_learners_gives_the_gradient_of_the_definition(
    main_groups: int, tempered_groups: int, group_size: int, learners: int, aggregation: str, share: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    streams = [
        random_stream(generator, groups=count, group_size=group_size, component=component, share_with_gradient=share)
        for component, count in enumerate((main_groups, tempered_groups))
    ]
    table_VV = torch.from_numpy(generator.normal(size=(VOCABULARY, VOCABULARY)))
    expected = reference_gradient(streams, table_VV, aggregation)
    order_matters = aggregation == "micro-batch-token-mean"
    for variant in (streams, streams if order_matters else shuffled(streams, generator)):
        (step,) = deal(variant, updates=1, learners=learners, aggregation=aggregation, **LIMITS)
        assert len(step) == learners
        torch.testing.assert_close(mean_gradient(step, table_VV), expected, atol=1e-6, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    main_groups=st.integers(0, 9),
    tempered_groups=st.integers(0, 5),
    updates=st.integers(1, 4),
    learners=st.integers(1, 3),
    aggregation=st.sampled_from(AGGREGATIONS),
    seed=st.integers(0, 10_000),
)
def test_optimizer_steps_share_out_whole_groups_and_each_has_its_own_denominator(
    main_groups: int, tempered_groups: int, updates: int, learners: int, aggregation: str, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    streams = [
        random_stream(generator, groups=count, group_size=3, component=component, share_with_gradient=0.6)
        for component, count in enumerate((main_groups, tempered_groups))
    ]
    table_VV = torch.from_numpy(generator.normal(size=(VOCABULARY, VOCABULARY)))
    steps = deal(streams, updates=updates, learners=learners, aggregation=aggregation, **LIMITS)
    assert len(steps) == updates

    place_of = {
        id(row.completion_ids): (step, learner)
        for step, shares in enumerate(steps)
        for learner, rows in enumerate(shares)
        for row in rows
    }
    dealt = [row for shares in steps for rows in shares for row in rows]
    with_gradient = [row for stream in streams for group in stream for row in group if row.advantage != 0]
    assert len(dealt) == len(place_of) == len(with_gradient)
    assert all(id(row.completion_ids) in place_of for row in with_gradient)

    for stream in streams:
        for group in stream:
            places = {place_of[id(row.completion_ids)] for row in group if row.advantage != 0}
            assert len(places) <= 1, "a group was torn apart"

    for index, shares in enumerate(steps):
        part = [s[index * len(s) // updates : (index + 1) * len(s) // updates] for s in streams]
        expected = reference_gradient(part, table_VV, aggregation)
        torch.testing.assert_close(mean_gradient(shares, table_VV), expected, atol=1e-6, rtol=1e-6)


def handmade_row(length: int, advantage: float, component: int = 0, prompt: tuple[int, ...] = (1,)) -> Row:
    return Row(prompt, np.arange(length), -np.ones(length), advantage, component)


def test_rows_without_advantage_are_dropped_but_counted() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, -1.0)], [handmade_row(5, 0.0), handmade_row(10, 0.0)]]
    tempered = [[handmade_row(4, 1.0, 1), handmade_row(6, 0.0, 1)]]
    (step,) = deal([main, tempered], updates=1, learners=2, aggregation="token-mean", max_length=16)
    first, second = step
    assert [(len(row.completion_ids), row.component) for row in first] == [(2, 0), (3, 0), (4, 1)]
    assert second == []
    # One over the tokens of *all* rows of the component, times two learners.
    assert [row.weight for row in first] == pytest.approx([2 / 20, 2 / 20, 2 / 10])


def test_rows_without_advantage_can_be_kept() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, 0.0)], [handmade_row(5, 0.0)]]
    (((*rows,),),) = deal([main], updates=1, learners=1, aggregation="token-mean", max_length=16, skip_flat_rows=False)
    assert [len(row.completion_ids) for row in rows] == [2, 3, 5]
    assert [row.weight for row in rows] == pytest.approx([1 / 10] * 3)


def test_groups_are_spread_evenly_over_the_learners() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, -1.0)] for _ in range(7)]
    (step,) = deal([main], updates=1, learners=3, aggregation="token-mean", max_length=16)
    assert sorted(len(rows) for rows in step) == [4, 4, 6]


def test_a_step_without_positives_leaves_the_main_term_alone() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, -1.0)]]
    tempered = [[handmade_row(4, 0.0, 1), handmade_row(6, 0.0, 1)]]
    for streams in ([main, tempered], [main, []], [main]):
        (((*rows,),),) = deal(streams, updates=1, learners=1, aggregation="token-mean", max_length=16)
        assert [row.weight for row in rows] == pytest.approx([1 / 5, 1 / 5])


def test_a_learner_without_rows_still_has_a_batch_with_a_differentiable_zero() -> None:
    columns = columns_of([])
    assert {len(column) for column in columns.values()} == {1}
    table_VV = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (batch_gradient([], table_VV) == 0).all()


def test_columns_are_padded_left_for_prompts_and_right_for_completions() -> None:
    rows = [
        Row([7, 8, 9], np.array([1, 2]), np.array([-0.1, -0.2]), 0.5, 0, 0.25),
        Row([5], np.array([3, 4, 6]), np.array([-0.3, -0.4, -0.6]), -1.0, 1, 0.75),
        Row([7, 8, 9], np.array([2]), np.array([-0.7]), 2.0, 0, 0.5),
    ]
    columns = columns_of(rows)
    assert columns[Columns.PROMPT_IDS].tolist() == [[7, 8, 9], [0, 0, 5], [7, 8, 9]]
    assert columns[Columns.PROMPT_MASK].tolist() == [[True] * 3, [False, False, True], [True] * 3]
    assert columns[Columns.COMPLETION_IDS].tolist() == [[1, 2, 0], [3, 4, 6], [2, 0, 0]]
    assert columns[Columns.COMPLETION_MASK].tolist() == [[True, True, False], [True] * 3, [True, False, False]]
    np.testing.assert_allclose(
        columns[Columns.POLICY_LOGP], [[-0.1, -0.2, 0], [-0.3, -0.4, -0.6], [-0.7, 0, 0]], rtol=1e-6
    )
    assert columns[Columns.PROMPT_INDEX].tolist() == [0, 1, 0]
    assert columns[Columns.ADVANTAGE].tolist() == [0.5, -1.0, 2.0]
    assert columns[Columns.WEIGHT].tolist() == [0.25, 0.75, 0.5]
    assert columns[Columns.COMPONENT].tolist() == [0, 1, 0]


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


def test_rows_of_judged_episodes_carry_their_advantage() -> None:
    groups = Groups(
        [
            [graded_episode(Verdict.CORRECT), graded_episode(Verdict.TIMED_OUT), graded_episode(Verdict.NO_ANSWER)],
            [graded_episode(Verdict.CRASHED), graded_episode(Verdict.WRONG), graded_episode(Verdict.CORRECT)],
        ]
    )
    assert groups.rewards_PG.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert groups.usable_PG.tolist() == [[True, False, True], [False, True, True]]
    advantages_PG = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    rows = rows_of(groups, advantages_PG, component=1)
    assert [[row.advantage for row in group] for group in rows] == [[1.0, 3.0], [5.0, 6.0]]
    row = rows[0][0]
    assert (list(row.prompt_ids), row.completion_ids.tolist(), row.policy_logp.tolist()) == (
        [1, 2],
        [3, 4],
        [-0.5, -0.25],
    )
    assert row.component == 1
    assert replace(row, weight=0.0).weight == row.weight


def test_every_turn_of_an_episode_is_a_row() -> None:
    (rows,) = rows_of(Groups([[graded_episode(Verdict.CORRECT, turns=3)]]), [[0.5]], component=0)
    assert [list(row.prompt_ids) for row in rows] == [[1, 2], [1, 3], [1, 4]]
    assert [row.advantage for row in rows] == [0.5] * 3
