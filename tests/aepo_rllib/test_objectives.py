"""Surrogates, aggregations and their sum: the peers' means, and the laws behind them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from goldens import golden_cases, tensor
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.objectives.losses import (
    AGGREGATIONS,
    Component,
    clipped_surrogate,
    composed_loss,
    kl_k3,
    reinforce,
    row_weights,
    weighted_sum,
)

F64 = torch.float64


def random_batch(rows: int = 3, tokens: int = 4, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    old_logp_BT = -3 * torch.rand(rows, tokens, generator=generator, dtype=F64)
    logp_BT = old_logp_BT + 0.4 * torch.randn(rows, tokens, generator=generator, dtype=F64)
    return logp_BT.requires_grad_(), old_logp_BT, torch.randn(rows, generator=generator, dtype=F64)


def weights_of(mask_BT: torch.Tensor, aggregation: str, max_length: int | None = None) -> torch.Tensor:
    lengths = mask_BT.sum(1).int().tolist()
    return torch.tensor(row_weights(lengths, aggregation=aggregation, max_length=max_length), dtype=F64)


# --- Goldens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "aggregation", "max_length"),
    [
        (*golden_cases("verl", "agg_token-mean")[0].values, "token-mean", None),
        (*golden_cases("verl", "agg_seq-mean-token-sum-norm")[0].values, "seq-mean-token-sum-norm", 5),
        (*golden_cases("verl", "agg_dr_grpo_const")[0].values, "seq-mean-token-sum-norm", 16),
        (*golden_cases("oat_drgrpo", "agg_drgrpo_const3000")[0].values, "seq-mean-token-sum-norm", 3000),
        (*golden_cases("oat_drgrpo", "agg_grpo_seqmean")[0].values, "seq-mean-token-mean", None),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_aggregations_are_the_peers(case: dict[str, Any], aggregation: str, max_length: int | None) -> None:
    mask_BT = tensor(case, "response_mask").bool()
    loss = weighted_sum(tensor(case, "values"), mask_BT, weights_of(mask_BT, aggregation, max_length))
    torch.testing.assert_close(loss, tensor(case, "loss"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", golden_cases("verl", "agg_split"))
def test_parts_of_a_split_batch_add_up_as_in_verl(case: dict[str, Any]) -> None:
    mask_BT = tensor(case, "response_mask").bool()
    aggregation, max_length = case["args"]["loss_agg_mode"], case["args"].get("loss_scale_factor")
    weight_B = weights_of(mask_BT, aggregation, max_length)
    parts = [
        weighted_sum(tensor(case, "values")[start:stop], mask_BT[start:stop], weight_B[start:stop])
        for start, stop in case["args"]["split"]
    ]
    torch.testing.assert_close(torch.stack(parts), tensor(case, "parts"), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.stack(parts).sum(), tensor(case, "total"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", golden_cases("verl", "kl_k3"))
def test_k3_and_its_gradient_are_verls(case: dict[str, Any]) -> None:
    logp_BT = tensor(case, "log_prob").requires_grad_()
    kl_BT = kl_k3(logp_BT, tensor(case, "ref_log_prob"))
    torch.testing.assert_close(kl_BT.detach(), tensor(case, "kl"), atol=1e-6, rtol=0)
    (gradient_BT,) = torch.autograd.grad(kl_BT.sum(), logp_BT)
    torch.testing.assert_close(gradient_BT, tensor(case, "grad_sum_wrt_logprob"), atol=1e-6, rtol=0)


# --- Surrogates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # Gradient w.r.t. the log-prob: -r A where the unclipped term is the smaller one, else 0.
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.56, 0.0),  # above 1 + high = 1.28
        (0.5, 2.0, -1.0, -1.0),  # below 1 - low, but the minimum is the unclipped term
        (1.0, -1.0, 1.0, 1.0),
        (0.5, -1.0, 0.8, 0.0),  # below 1 - low = 0.8
        (2.5, -1.0, 2.5, 2.5),  # no bound from above without the dual clip
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    logp_BT = torch.tensor([[ratio]], dtype=F64).log().requires_grad_()
    loss_BT = clipped_surrogate(
        logp_BT, torch.zeros(1, 1, dtype=F64), torch.tensor([advantage], dtype=F64), low=0.2, high=0.28
    )
    assert loss_BT.item() == pytest.approx(loss)
    assert torch.autograd.grad(loss_BT.sum(), logp_BT)[0].item() == pytest.approx(gradient)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [(2.5, -1.0, 2.5, 2.5), (3.5, -1.0, 3.0, 0.0), (9.0, -2.0, 6.0, 0.0), (0.5, -1.0, 0.8, 0.0), (3.5, 1.0, -1.2, 0.0)],
)
def test_dual_clip_bounds_the_loss_of_negative_advantages_alone(
    ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    logp_BT = torch.tensor([[ratio]], dtype=F64).log().requires_grad_()
    loss_BT = clipped_surrogate(
        logp_BT, torch.zeros(1, 1, dtype=F64), torch.tensor([advantage], dtype=F64), dual_clip=3.0
    )
    assert loss_BT.item() == pytest.approx(loss)
    assert torch.autograd.grad(loss_BT.sum(), logp_BT)[0].item() == pytest.approx(gradient)


def test_reinforce_gradient_is_minus_advantage_times_the_score() -> None:
    logits_BTV = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=F64, requires_grad=True)
    token_ids_BT = torch.randint(5, (3, 4), generator=torch.Generator().manual_seed(1))
    advantage_B = torch.tensor([1.0, -0.5, 2.0], dtype=F64)
    logp_BT = logits_BTV.log_softmax(-1).gather(-1, token_ids_BT.unsqueeze(-1)).squeeze(-1)
    (gradient_BTV,) = torch.autograd.grad(reinforce(logp_BT, torch.randn(3, 4), advantage_B).sum(), logits_BTV)
    score_BTV = torch.nn.functional.one_hot(token_ids_BT, 5) - logits_BTV.detach().softmax(-1)
    torch.testing.assert_close(gradient_BTV, -advantage_B.view(3, 1, 1) * score_BTV)


def test_reinforce_ignores_where_the_tokens_came_from() -> None:
    logp_BT, old_logp_BT, advantage_B = random_batch()
    torch.testing.assert_close(
        reinforce(logp_BT, old_logp_BT, advantage_B), reinforce(logp_BT, old_logp_BT - 5, advantage_B)
    )


@given(advantage=st.floats(-3, 3), dual_clip=st.sampled_from([None, 3.0]), seed=st.integers(0, 20))
def test_at_ratio_one_the_clipped_surrogate_is_reinforce(advantage: float, dual_clip: float | None, seed: int) -> None:
    logp_BT, _, _ = random_batch(seed=seed)
    advantage_B = torch.full((3,), advantage, dtype=F64)
    clipped = clipped_surrogate(logp_BT, logp_BT.detach(), advantage_B, dual_clip=dual_clip)
    plain = reinforce(logp_BT, logp_BT.detach(), advantage_B)
    for loss_BT in (clipped, plain):
        (gradient_BT,) = torch.autograd.grad(loss_BT.sum(), logp_BT)
        torch.testing.assert_close(gradient_BT, torch.full_like(gradient_BT, -advantage))


@given(log_ratio=st.floats(-3, 3))
def test_k3_is_positive_but_for_equality_and_rounding(log_ratio: float) -> None:
    kl = kl_k3(torch.zeros(1, dtype=F64), torch.tensor([log_ratio], dtype=F64)).item()
    assert kl > 0 or (abs(log_ratio) < 1e-7 and abs(kl) < 1e-15)


def test_k3_of_a_small_step_is_right_in_float32() -> None:
    kl = kl_k3(torch.zeros(1), torch.tensor([1e-4])).item()
    assert kl == pytest.approx(5e-9, rel=0.05)


def test_k3_is_unbiased() -> None:
    generator = torch.Generator().manual_seed(0)
    logp_V, other_V = torch.randn(2, 6, generator=generator, dtype=F64).log_softmax(-1)
    expectation = (logp_V.exp() * kl_k3(logp_V, other_V)).sum()
    torch.testing.assert_close(expectation, (logp_V.exp() * (logp_V - other_V)).sum())


# --- Weights ----------------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=9), aggregation=st.sampled_from(AGGREGATIONS))
def test_weights_turn_a_constant_loss_into_itself(lengths: list[int], aggregation: str) -> None:
    weights = row_weights(lengths, aggregation=aggregation, max_length=30, micro_batch_size=2)
    total = sum(weight * length for weight, length in zip(weights, lengths, strict=True))
    fill = sum(lengths) / (30 * len(lengths)) if aggregation == "seq-mean-token-sum-norm" else 1.0
    assert total == pytest.approx(fill)


def test_weights_by_hand() -> None:
    assert row_weights([2, 3], aggregation="token-mean") == pytest.approx([1 / 5, 1 / 5])
    assert row_weights([2, 3], aggregation="seq-mean-token-mean") == pytest.approx([1 / 4, 1 / 6])
    assert row_weights([2, 3], aggregation="seq-mean-token-sum-norm", max_length=10) == pytest.approx([1 / 20, 1 / 20])
    micro_batches = row_weights([2, 3, 10], aggregation="micro-batch-token-mean", micro_batch_size=2)
    assert micro_batches == pytest.approx([1 / 10, 1 / 10, 1 / 20])


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_no_rows_have_no_weights(aggregation: str) -> None:
    assert row_weights([], aggregation=aggregation, max_length=8) == []


def test_bad_aggregations_are_refused() -> None:
    with pytest.raises(ValueError, match="token-mean, seq-mean-token-mean, seq-mean-token-sum-norm"):
        row_weights([1], aggregation="mean")
    with pytest.raises(ValueError, match="max_length"):
        row_weights([1], aggregation="seq-mean-token-sum-norm")
    with pytest.raises(ValueError, match="micro_batch_size"):
        row_weights([1], aggregation="micro-batch-token-mean")


def test_weighted_sum_by_hand() -> None:
    loss_BT = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    mask_BT = torch.tensor([[True, True, False], [True, False, True]])
    assert weighted_sum(loss_BT, mask_BT, torch.tensor([1.0, 0.5])).item() == 3 + 0.5 * 40


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), -float("inf")])
def test_weighted_sum_never_looks_at_padding(padding: float) -> None:
    loss_BT = torch.tensor([[1.0, padding], [2.0, 3.0]], requires_grad=True)
    mask_BT = torch.tensor([[True, False], [True, True]])
    total = weighted_sum(loss_BT, mask_BT, torch.tensor([1.0, 10.0]))
    assert total.item() == 51
    (gradient_BT,) = torch.autograd.grad(total, loss_BT)
    assert gradient_BT.tolist() == [[1.0, 0.0], [10.0, 10.0]]


@pytest.mark.parametrize(("rows", "tokens"), [(2, 3), (2, 0), (0, 3), (0, 0)])
def test_an_empty_mask_gives_a_differentiable_zero(rows: int, tokens: int) -> None:
    loss_BT = torch.full((rows, tokens), 7.0, requires_grad=True)
    total = weighted_sum(loss_BT, torch.zeros(rows, tokens, dtype=torch.bool), torch.ones(rows))
    assert total.item() == 0.0
    (gradient_BT,) = torch.autograd.grad(total, loss_BT)
    assert (gradient_BT == 0).all()


# --- Composition ------------------------------------------------------------------------------------------------


def test_composed_loss_sends_every_row_to_its_component() -> None:
    logp_BT, old_logp_BT, advantage_B = random_batch(rows=4)
    mask_BT = torch.tensor([[True] * 4, [True, True, False, False], [True] * 3 + [False], [True, False, False, False]])
    weight_B = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=F64)
    components = [Component(clipped_surrogate), Component(reinforce, 0.25)]
    loss, terms = composed_loss(
        components, torch.tensor([0, 1, 1, 0]), logp_BT, old_logp_BT, advantage_B, mask_BT, weight_B
    )
    main = torch.tensor(0.0, dtype=F64)
    tempered = torch.tensor(0.0, dtype=F64)
    for row in range(4):
        for token in range(int(mask_BT[row].sum())):
            ratio = (logp_BT[row, token] - old_logp_BT[row, token]).exp()
            if row in (0, 3):
                pair = torch.stack([ratio * advantage_B[row], ratio.clamp(0.8, 1.2) * advantage_B[row]])
                main = main - weight_B[row] * pair.min()
            else:
                tempered = tempered - 0.25 * weight_B[row] * advantage_B[row] * logp_BT[row, token]
    torch.testing.assert_close(torch.stack(terms), torch.stack([main, tempered]))
    torch.testing.assert_close(loss, main + tempered)
    expected = torch.autograd.grad(main + tempered, logp_BT)[0]
    torch.testing.assert_close(torch.autograd.grad(loss, logp_BT)[0], expected)


def test_a_component_without_rows_adds_zero() -> None:
    logp_BT, old_logp_BT, advantage_B = random_batch()
    rest = (torch.zeros(3, dtype=torch.long), logp_BT, old_logp_BT, advantage_B, torch.ones(3, 4).bool(), torch.ones(3))
    alone, _ = composed_loss([Component(clipped_surrogate)], *rest)
    loss, terms = composed_loss([Component(clipped_surrogate), Component(reinforce)], *rest)
    torch.testing.assert_close(loss, alone)
    assert terms[1].item() == 0.0
    loss.backward()
    assert logp_BT.grad is not None
    assert logp_BT.grad.isfinite().all()


@pytest.mark.parametrize("surrogate", [clipped_surrogate, reinforce])
def test_finite_padding_does_not_reach_loss_or_gradient(surrogate: Any) -> None:
    logp_BT, old_logp_BT, advantage_B = random_batch()
    mask_BT = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    weight_B = torch.ones(3, dtype=F64)
    results = []
    for padding in (0.0, -40.0):
        filled_BT = torch.where(mask_BT, logp_BT, padding).detach().requires_grad_()
        loss, _ = composed_loss(
            [Component(surrogate)], torch.zeros(3).long(), filled_BT, old_logp_BT, advantage_B, mask_BT, weight_B
        )
        results.append((loss.detach(), torch.autograd.grad(loss, filled_BT)[0]))
        assert (results[-1][1][~mask_BT] == 0).all()
    torch.testing.assert_close(results[0], results[1], atol=0, rtol=0)


@pytest.mark.parametrize("padding", [float("nan"), float("inf")])
def test_padding_that_is_not_finite_does_not_reach_the_gradient(padding: float) -> None:
    logp_BT, old_logp_BT, advantage_B = random_batch()
    mask_BT = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    filled_BT = torch.where(mask_BT, logp_BT, padding).detach().requires_grad_()
    loss, _ = composed_loss(
        [Component(clipped_surrogate)],
        torch.zeros(3).long(),
        filled_BT,
        old_logp_BT,
        advantage_B,
        mask_BT,
        torch.ones(3, dtype=F64),
    )
    assert loss.isfinite()
    (gradient_BT,) = torch.autograd.grad(loss, filled_BT)
    assert gradient_BT.isfinite().all()


def test_correcting_tempered_rows_by_their_ratio_would_hide_the_temperature() -> None:
    """Corollary F: why `reinforce` has no ratio. The corrected gradient is the same at every temperature."""
    logits_V = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=F64)
    reward_V = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], dtype=F64)
    plain, corrected = [], []
    for temperature in (0.8, 1.2):
        law_V = (logits_V / temperature).softmax(-1)
        parameters_V = logits_V.clone().requires_grad_()
        logp_BT = parameters_V.log_softmax(-1).unsqueeze(-1)
        plain.append(torch.autograd.grad((law_V * reinforce(logp_BT, logp_BT, reward_V)[:, 0]).sum(), parameters_V)[0])
        logp_BT = parameters_V.log_softmax(-1).unsqueeze(-1)
        surrogate_BT = clipped_surrogate(logp_BT, law_V.log().unsqueeze(-1), reward_V, low=9.0, high=9.0)
        corrected.append(torch.autograd.grad((law_V * surrogate_BT[:, 0]).sum(), parameters_V)[0])
    torch.testing.assert_close(corrected[0], corrected[1], atol=1e-12, rtol=0)
    assert (plain[0] - plain[1]).abs().max() > 1e-3
