"""Streams, terms and marks: what a method is made of, and what its parts may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.rows import Row
from aepo_rllib.objectives.advantages import group_normalised, positive_reward
from aepo_rllib.objectives.losses import clipped, entropy, kl_to_reference, reinforce, sequence_clipped
from aepo_rllib.objectives.parts import (
    MAIN,
    Method,
    Stream,
    Term,
    TokenLoss,
    Tokens,
    reads,
    reads_of,
    term_values,
    zero_without_advantage,
)
from aepo_rllib.objectives.selections import most_uncertain

F64 = torch.float64
PLAIN = Method({MAIN: Stream(group_normalised)}, {MAIN: Term(clipped)})
BONUS = Term(entropy, coefficient=-0.1)
MEAN = Mean("token-mean", 8)
MASK_BT = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False], [True, False, False, False]])


def random_tokens(mask_BT: torch.Tensor = MASK_BT) -> Tokens:
    """Zero on padding."""
    generator = torch.Generator().manual_seed(0)
    old_logp_BT = -3 * torch.rand(mask_BT.shape, generator=generator, dtype=F64)
    logp_BT = old_logp_BT + 0.4 * torch.randn(mask_BT.shape, generator=generator, dtype=F64)
    advantage_BT = torch.randn(len(mask_BT), 1, generator=generator, dtype=F64).expand(mask_BT.shape)
    entropy_BT = torch.rand(mask_BT.shape, generator=generator, dtype=F64)
    logp_BT, old_logp_BT, advantage_BT, entropy_BT = (
        torch.where(mask_BT, values_BT, 0.0) for values_BT in (logp_BT, old_logp_BT, advantage_BT, entropy_BT)
    )
    return Tokens(logp_BT.requires_grad_(), old_logp_BT, advantage_BT, mask_BT, entropy_BT.requires_grad_())


def with_terms(method: Method, **terms: Term) -> Method:
    return replace(method, terms={**method.terms, **terms})


# --- The value of a term ------------------------------------------------------------------------------------------


def test_every_term_is_the_weighted_sum_of_its_losses_over_the_real_tokens() -> None:
    """By the definition, row by row and token by token, with factors of its own for each term."""
    t, generator = random_tokens(), torch.Generator().manual_seed(1)
    weight_BK = torch.rand(4, 3, generator=generator, dtype=F64)
    factor_BKT = torch.rand(4, 3, 4, generator=generator, dtype=F64)
    terms = {"clipped": Term(clipped), "entropy": Term(entropy), "reinforce": Term(reinforce)}
    values = term_values(terms, t, weight_BK, factor_BKT)
    expected = dict.fromkeys(terms, torch.zeros((), dtype=F64))
    assert t.entropy is not None
    for row in range(4):
        for token in range(int(t.mask[row].sum())):
            ratio = (t.logp[row, token] - t.old_logp[row, token]).exp()
            advantage = t.advantage[row, token]
            losses = {
                "clipped": -torch.stack([ratio * advantage, ratio.clamp(0.8, 1.2) * advantage]).min(),
                "entropy": t.entropy[row, token],
                "reinforce": -advantage * t.logp[row, token],
            }
            for place, (name, loss) in enumerate(losses.items()):
                expected[name] = expected[name] + weight_BK[row, place] * factor_BKT[row, place, token] * loss
    assert list(values) == list(terms)
    torch.testing.assert_close(values, expected)
    leaves = t.logp, t.entropy
    found = torch.autograd.grad(torch.stack(list(values.values())).sum(), leaves)
    torch.testing.assert_close(found, torch.autograd.grad(torch.stack(list(expected.values())).sum(), leaves))


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_may_give_anything_on_padding(padding: float) -> None:
    def loss(t: Tokens) -> torch.Tensor:
        return torch.where(t.mask, t.logp, padding)

    t = random_tokens()
    [value] = term_values({"term": Term(loss)}, t, torch.ones(4, 1, dtype=F64)).values()
    torch.testing.assert_close(value, t.logp[t.mask].sum())
    (gradient_BT,) = torch.autograd.grad(value, t.logp)
    assert torch.equal(gradient_BT, t.mask.to(F64))


@pytest.mark.parametrize("loss", [clipped, sequence_clipped, reinforce])
def test_what_stands_on_padding_does_not_reach_value_or_gradient(loss: TokenLoss) -> None:
    t, weight_BK = random_tokens(), torch.ones(4, 1, dtype=F64)
    results = []
    for padding in (0.0, -40.0):
        filled_BT = torch.where(t.mask, t.logp, padding).detach().requires_grad_()
        [value] = term_values({"term": Term(loss)}, t._replace(logp=filled_BT), weight_BK).values()
        results.append((value.detach(), torch.autograd.grad(value, filled_BT)[0]))
        assert (results[-1][1][~t.mask] == 0).all()
    torch.testing.assert_close(results[0], results[1], atol=0, rtol=0)


@pytest.mark.parametrize(("rows", "width"), [(2, 3), (2, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("loss", [clipped, sequence_clipped, reinforce])
def test_without_a_token_every_term_is_a_differentiable_zero(loss: TokenLoss, rows: int, width: int) -> None:
    logp_BT = torch.full((rows, width), -7.0, requires_grad=True)
    t = Tokens(logp_BT, logp_BT.detach(), torch.ones(rows, width), torch.zeros(rows, width, dtype=torch.bool))
    values = term_values({"a": Term(loss), "b": Term(loss)}, t, torch.ones(rows, 2))
    (gradient_BT,) = torch.autograd.grad(values["a"] + values["b"], logp_BT)
    assert [value.item() for value in values.values()] == [0.0, 0.0]
    assert torch.equal(gradient_BT, torch.zeros(rows, width))


# --- Marks --------------------------------------------------------------------------------------------------------


def test_a_mark_is_seen_through_partials() -> None:
    narrow = partial(partial(clipped, low=0.1), high=0.1)
    assert reads_of(narrow) == {"old_logp"}
    assert reads_of(partial(most_uncertain, share=0.5)) == {"entropy"}
    assert reads_of(partial(reinforce)) == reads_of(lambda t: t.logp) == set()
    assert Term(narrow).has_ratio
    assert not Term(narrow).needs_all_rows
    assert not Term(partial(reinforce)).has_ratio


def test_a_method_reads_what_some_part_of_it_reads() -> None:
    method = with_terms(PLAIN, bonus=BONUS, kl=Term(kl_to_reference, select=most_uncertain))
    assert method.reads == {"old_logp", "entropy", "ref_logp"}
    assert method.selection_reads == {"entropy"}
    assert (PLAIN.reads, PLAIN.selection_reads) == ({"old_logp"}, set())


def test_an_unknown_field_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="entropi, log_p: no field of Tokens; there are logp, old_logp, advantage"):
        reads("log_p", "entropi", "entropy")


def test_both_marks_fit_on_one_loss_in_any_order() -> None:
    def loss(t: Tokens) -> torch.Tensor:
        return t.advantage * t.logp

    for marked in (zero_without_advantage(reads("entropy")(loss)), reads("ref_logp")(zero_without_advantage(loss))):
        assert not Term(marked).needs_all_rows
        assert not Term(partial(marked)).needs_all_rows


def test_marks_add_up_and_leave_a_marked_part_as_it_is() -> None:
    both = reads("entropy")(clipped)
    assert reads_of(both) == {"entropy", "old_logp"}
    assert reads_of(clipped) == {"old_logp"}
    assert reads_of(partial(reads("ref_logp")(partial(both, low=0.1)), high=0.3)) == {"entropy", "old_logp", "ref_logp"}
    assert not Term(both).needs_all_rows


# --- Methods ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("streams", "terms", "complaint"),
    [
        ({}, {MAIN: Term(clipped)}, "a method needs a stream 'main', and has none"),
        ({"hot": Stream(positive_reward)}, {"hot": Term(clipped, stream="hot")}, "a stream 'main', and has hot"),
        ({MAIN: Stream(positive_reward)}, {}, "a method needs a term"),
        (
            {MAIN: Stream(positive_reward), "hot": Stream(positive_reward)},
            {MAIN: Term(clipped), "cold": Term(clipped, stream="cold")},
            "term 'cold' reads stream 'cold'; there are main, hot",
        ),
    ],
)
def test_a_method_that_cannot_be_is_refused(
    streams: Mapping[str, Stream], terms: Mapping[str, Term], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Method(streams, terms)


# --- Which rows are needed ----------------------------------------------------------------------------------------


def row(advantage: Any, length: int = 2) -> Row:
    return Row([1], np.arange(length), -np.ones(length), advantage)


FLAT, PER_TOKEN = row(0.0), row(np.array([0.0, 0.5]))
GROUPS = {MAIN: [[row(1.0), FLAT], [PER_TOKEN, row(np.zeros(2))]]}


def dealt(method: Method, **options: Any) -> list[Row]:
    [[rows]] = deal(GROUPS, method, MEAN, updates=1, learners=1, **options)
    return rows


@reads("old_logp")
def unmarked(t: Tokens) -> torch.Tensor:
    """The clipped surrogate without its mark."""
    return clipped(t)


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        (PLAIN, 2),
        (with_terms(PLAIN, second=Term(reinforce)), 2),
        (with_terms(PLAIN, bonus=BONUS), 4),
        (with_terms(PLAIN, kl=Term(kl_to_reference)), 4),
        (with_terms(PLAIN, main=Term(clipped, select=most_uncertain)), 4),
        (with_terms(PLAIN, main=Term(unmarked)), 4),
    ],
    ids=["advantage", "two advantages", "entropy", "KL", "selection", "unmarked"],
)
def test_rows_without_advantage_go_through_the_model_where_some_term_needs_them(method: Method, kept: int) -> None:
    rows = dealt(method)
    assert len(rows) == kept
    assert all(row.weights[0] == 1 / 8 for row in rows)  # all four count
    assert len(dealt(method, skip_flat_rows=False)) == 4


def test_rows_of_a_stream_that_no_term_reads_stay_with_the_algorithm() -> None:
    method = replace(PLAIN, streams={**PLAIN.streams, "hot": Stream(positive_reward)})
    streams = {**GROUPS, "hot": [[replace(row(1.0), stream=1)]]}
    [[rows]] = deal(streams, method, MEAN, updates=1, learners=1)
    assert {row.stream for row in rows} == {0}


def test_a_coefficient_of_one_step_scales_the_term_as_the_methods_own_does() -> None:
    """Of the step's terms alone: the others keep theirs."""
    method = with_terms(PLAIN, bonus=BONUS)
    scaled = with_terms(PLAIN, bonus=replace(BONUS, coefficient=-0.7))
    given, expected = dealt(method, coefficients={"bonus": -0.7}), dealt(scaled)
    assert [row.weights for row in given] == [row.weights for row in expected]
    assert [row.weights[1] for row in given] == pytest.approx([7 * row.weights[1] for row in dealt(method)])
    assert [row.weights[0] for row in given] == [row.weights[0] for row in dealt(method)]


def test_a_coefficient_of_zero_needs_no_row() -> None:
    assert len(dealt(with_terms(PLAIN, main=Term(clipped, coefficient=0.0)))) == 0
    with_bonus = with_terms(PLAIN, bonus=BONUS)
    assert len(dealt(with_bonus, coefficients={MAIN: 0.0})) == 4
    assert len(dealt(with_bonus, coefficients={"bonus": 0.0})) == 2
    assert len(dealt(with_bonus, coefficients={"bonus": 0.0, MAIN: 0.0})) == 0
    off = with_terms(PLAIN, bonus=replace(BONUS, coefficient=0.0))
    assert (len(dealt(off)), len(dealt(off, coefficients={"bonus": 0.1}))) == (2, 4)
