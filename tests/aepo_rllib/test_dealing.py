"""Dealing rows to optimizer steps and learners: any split gives the same gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.columns import Columns
from aepo_rllib.experience.dealing import Mean, deal, replace_first_rows
from aepo_rllib.experience.rows import Row, RowGroups, columns_of
from aepo_rllib.objectives.advantages import group_normalised, positive_reward
from aepo_rllib.objectives.aggregation import AGGREGATIONS
from aepo_rllib.objectives.losses import clipped, entropy, reinforce
from aepo_rllib.objectives.parts import MAIN, Method, Stream, Term, Tokens, term_values

VOCABULARY, MAX_LENGTH, MICRO_BATCH = 5, 7, 2
TEMPERED = "tempered"
ALPHA, BONUS = 0.5, 0.3
PLAIN = Method(
    {MAIN: Stream(group_normalised), TEMPERED: Stream(positive_reward, tempered=True)},
    {
        MAIN: Term(partial(clipped, low=0.2, high=0.28)),
        TEMPERED: Term(reinforce, stream=TEMPERED, coefficient=ALPHA),
    },
)
BONUS_TERM = Term(entropy, coefficient=-BONUS, aggregation="seq-mean-token-mean")
WITH_BONUS = replace(PLAIN, terms={"bonus": BONUS_TERM, **PLAIN.terms})
"""A second term over the main stream, with a mean of its own, named before the first."""
METHODS = st.sampled_from([PLAIN, WITH_BONUS])
MEANS = st.sampled_from([Mean(aggregation, MAX_LENGTH, MICRO_BATCH) for aggregation in AGGREGATIONS])
TOKEN_MEAN = Mean("token-mean", 16)

Streams = Mapping[str, RowGroups]


def random_streams(generator: np.random.Generator, main: int, tempered: int, group_size: int, share: float) -> Streams:
    """So many groups of rows with random lengths; only a share of the rows carries an advantage."""

    def row(group: int, stream: int) -> Row:
        length = int(generator.integers(1, MAX_LENGTH + 1))
        advantage = 0.0
        if generator.random() < share:
            advantage = 1.0 if stream else float(generator.normal())
        ids, logp = generator.integers(VOCABULARY, size=length), -generator.random(length) * 3
        return Row([group % VOCABULARY] * (1 + group % 3), ids, logp, advantage, stream)

    return {
        name: [[row(group, stream) for _ in range(group_size)] for group in range(groups)]
        for stream, (name, groups) in enumerate(((MAIN, main), (TEMPERED, tempered)))
    }


def batch_gradient(rows: list[Row], table_VV: torch.Tensor, method: Method) -> torch.Tensor:
    """Gradient of a learner's loss w.r.t. a bigram policy, from the columns that a learner gets."""
    batch = {name: torch.from_numpy(column) for name, column in columns_of(rows).items()}
    parameters_VV = table_VV.clone().requires_grad_()
    ids_NT, mask_NT = batch[Columns.COMPLETION_IDS], batch[Columns.COMPLETION_MASK]
    context_NT = torch.cat([batch[Columns.PROMPT_IDS][:, -1:], ids_NT[:, :-1]], dim=1)
    logp_VV = parameters_VV.log_softmax(-1)
    entropy_V = -(logp_VV.exp() * logp_VV).sum(-1)
    values = []
    for place, name in enumerate(method.streams):
        own = batch[Columns.STREAM] == place
        tokens = Tokens(
            logp_VV[context_NT, ids_NT][own],
            batch[Columns.OLD_LOGP].double()[own],
            batch[Columns.ADVANTAGE].double()[own],
            mask_NT[own],
            entropy_V[context_NT][own],
        )
        terms = method.terms_of(name)
        columns = [index for index, term in enumerate(method.terms) if term in terms]
        values += term_values(terms, tokens, batch[Columns.WEIGHT].double()[own][:, columns]).values()
    return torch.autograd.grad(torch.stack(values).sum(), parameters_VV)[0]


def mean_gradient(learners: list[list[Row]], table_VV: torch.Tensor, method: Method) -> torch.Tensor:
    """What DDP makes of the learners' gradients."""
    return torch.stack([batch_gradient(rows, table_VV, method) for rows in learners]).mean(0)


def share_of_row(rows: list[Row], position: int, aggregation: str) -> float:
    """What a token's loss is multiplied by in a mean over these rows, by the mean's definition."""
    lengths = [len(row.completion_ids) for row in rows]
    first = position // MICRO_BATCH * MICRO_BATCH
    return {
        "token-mean": 1 / sum(lengths),
        "seq-mean-token-mean": 1 / (len(rows) * lengths[position]),
        "seq-mean-token-sum-norm": 1 / (len(rows) * MAX_LENGTH),
        "micro-batch-token-mean": 1 / (-(-len(rows) // MICRO_BATCH) * sum(lengths[first : first + MICRO_BATCH])),
    }[aggregation]


def reference_gradient(streams: Streams, table_VV: torch.Tensor, method: Method, aggregation: str) -> torch.Tensor:
    """The gradient from the definition, row by row and token by token."""
    parameters_VV = table_VV.clone().requires_grad_()
    logp_VV = parameters_VV.log_softmax(-1)
    loss = 0.0 * parameters_VV.sum()
    for name, groups in streams.items():
        rows = [row for group in groups for row in group]
        for position, row in enumerate(rows):
            share = share_of_row(rows, position, aggregation)
            for place, token in enumerate(row.completion_ids):
                context = int(row.completion_ids[place - 1] if place else row.prompt_ids[-1])
                logp = logp_VV[context, int(token)]
                if name == TEMPERED:
                    loss = loss - share * ALPHA * row.advantage * logp
                    continue
                ratio = (logp - float(row.policy_logp[place])).exp()
                loss = loss - share * torch.minimum(ratio * row.advantage, ratio.clamp(0.8, 1.28) * row.advantage)
                if "bonus" in method.terms:
                    own = share_of_row(rows, position, "seq-mean-token-mean")
                    loss = loss + own * BONUS * (logp_VV[context].exp() * logp_VV[context]).sum()
    return torch.autograd.grad(loss, parameters_VV)[0]


def shuffled(streams: Streams, generator: np.random.Generator) -> Streams:
    """The same groups in another order, and the same rows in another order within them."""

    def permuted(items: list) -> list:
        return [items[i] for i in generator.permutation(len(items))]

    return {name: permuted([permuted(group) for group in groups]) for name, groups in streams.items()}


def needed(streams: Streams, method: Method) -> list[Row]:
    """The rows that have a gradient: those with an advantage, and all main ones where the bonus wants them."""
    return [
        row
        for name, groups in streams.items()
        for group in groups
        for row in group
        if row.advantage != 0 or (name == MAIN and method is WITH_BONUS)
    ]


@settings(deadline=None, max_examples=80)
@given(
    main=st.integers(0, 5),
    tempered=st.integers(0, 4),
    group_size=st.integers(1, 5),
    learners=st.integers(1, 4),
    method=METHODS,
    mean=MEANS,
    share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_any_split_over_learners_gives_the_gradient_of_the_definition(
    main: int, tempered: int, group_size: int, learners: int, method: Method, mean: Mean, share: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    streams = random_streams(generator, main, tempered, group_size, share)
    table_VV = torch.from_numpy(generator.normal(size=(VOCABULARY, VOCABULARY)))
    expected = reference_gradient(streams, table_VV, method, mean.aggregation)
    order_matters = mean.aggregation == "micro-batch-token-mean"
    for variant in (streams, streams if order_matters else shuffled(streams, generator)):
        (step,) = deal(variant, method, mean, updates=1, learners=learners)
        assert len(step) == learners
        torch.testing.assert_close(mean_gradient(step, table_VV, method), expected, atol=1e-6, rtol=1e-6)


@settings(deadline=None, max_examples=80)
@given(
    main=st.integers(0, 9),
    tempered=st.integers(0, 5),
    updates=st.integers(1, 4),
    learners=st.integers(1, 3),
    method=METHODS,
    mean=MEANS,
    seed=st.integers(0, 10_000),
)
def test_optimizer_steps_share_out_whole_groups_and_each_has_its_own_denominator(
    main: int, tempered: int, updates: int, learners: int, method: Method, mean: Mean, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    streams = random_streams(generator, main, tempered, 3, 0.6)
    table_VV = torch.from_numpy(generator.normal(size=(VOCABULARY, VOCABULARY)))
    steps = deal(streams, method, mean, updates=updates, learners=learners)
    assert len(steps) == updates

    place_of = {
        id(row.completion_ids): (step, learner)
        for step, shares in enumerate(steps)
        for learner, rows in enumerate(shares)
        for row in rows
    }
    dealt, wanted = [row for shares in steps for rows in shares for row in rows], needed(streams, method)
    assert len(dealt) == len(place_of) == len(wanted)
    assert all(id(row.completion_ids) in place_of for row in wanted)
    for group in (group for groups in streams.values() for group in groups):
        places = {place_of[id(row.completion_ids)] for row in group if id(row.completion_ids) in place_of}
        assert len(places) <= 1, "a group was torn apart"

    for index, shares in enumerate(steps):
        part = {
            name: groups[index * len(groups) // updates : (index + 1) * len(groups) // updates]
            for name, groups in streams.items()
        }
        expected = reference_gradient(part, table_VV, method, mean.aggregation)
        torch.testing.assert_close(mean_gradient(shares, table_VV, method), expected, atol=1e-6, rtol=1e-6)


# --- By hand ------------------------------------------------------------------------------------------------------


def handmade_row(length: int, advantage: float, stream: int = 0) -> Row:
    return Row((1,), np.arange(length), -np.ones(length), advantage, stream)


def test_rows_without_advantage_are_dropped_but_counted() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, -1.0)], [handmade_row(5, 0.0), handmade_row(10, 0.0)]]
    tempered = [[handmade_row(4, 1.0, 1), handmade_row(6, 0.0, 1)]]
    ([first, second],) = deal({MAIN: main, TEMPERED: tempered}, PLAIN, TOKEN_MEAN, updates=1, learners=2)
    assert [(len(row.completion_ids), row.stream) for row in first] == [(2, 0), (3, 0), (4, 1)]
    assert second == []
    # One over the tokens of *all* rows of the stream, times two learners, times the coefficient; 0 in others' terms.
    assert [row.weights for row in first] == [(2 / 20, 0), (2 / 20, 0), (0, ALPHA * 2 / 10)]
    assert [row.mean_weight for row in first] == [2 / 20, 2 / 20, 0]


def test_rows_without_advantage_can_be_kept() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, 0.0)], [handmade_row(5, 0.0)]]
    [[rows]] = deal({MAIN: main}, PLAIN, TOKEN_MEAN, updates=1, learners=1, skip_flat_rows=False)
    assert [len(row.completion_ids) for row in rows] == [2, 3, 5]
    assert [row.weights for row in rows] == [(1 / 10, 0)] * 3


def test_every_term_weighs_a_row_by_its_own_mean_and_coefficient() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(8, -1.0)]]
    [[rows]] = deal({MAIN: main}, WITH_BONUS, TOKEN_MEAN, updates=1, learners=1)
    assert [*WITH_BONUS.terms] == ["bonus", MAIN, TEMPERED]
    assert [row.weights for row in rows] == [(-BONUS / 4, 1 / 10, 0), (pytest.approx(-BONUS / 16), 1 / 10, 0)]


def test_groups_are_spread_evenly_over_the_learners() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, -1.0)] for _ in range(7)]
    (step,) = deal({MAIN: main}, PLAIN, TOKEN_MEAN, updates=1, learners=3)
    assert sorted(len(rows) for rows in step) == [4, 4, 6]


def test_a_step_without_positives_leaves_the_main_term_alone() -> None:
    main = [[handmade_row(2, 1.0), handmade_row(3, -1.0)]]
    tempered = [[handmade_row(4, 0.0, 1), handmade_row(6, 0.0, 1)]]
    for streams in ({MAIN: main, TEMPERED: tempered}, {MAIN: main, TEMPERED: []}, {MAIN: main}):
        [[rows]] = deal(streams, PLAIN, TOKEN_MEAN, updates=1, learners=1)
        assert [row.weights for row in rows] == [(1 / 5, 0)] * 2


@pytest.mark.parametrize("method", [PLAIN, WITH_BONUS], ids=["a term a stream", "two terms over a stream"])
def test_a_learner_without_rows_still_has_a_differentiable_zero(method: Method) -> None:
    generator = torch.Generator().manual_seed(0)
    table_VV = torch.randn(VOCABULARY, VOCABULARY, generator=generator, dtype=torch.float64)
    assert (batch_gradient([], table_VV, method) == 0).all()


def test_the_first_rows_are_replaced_in_order_and_groups_keep_their_sizes() -> None:
    rows = [handmade_row(length, 0.0) for length in range(1, 6)]
    others = [handmade_row(length, 1.0) for length in (11, 12, 13)]
    groups = [rows[:2], rows[2:]]
    for count in range(4):
        replaced = replace_first_rows(groups, others[:count])
        assert [len(group) for group in replaced] == [2, 3]
        assert [row for group in replaced for row in group] == [*others[:count], *rows[count:]]
    assert replace_first_rows([rows[:2]], others) == [others[:2]]
