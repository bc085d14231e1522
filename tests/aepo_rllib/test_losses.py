"""Losses of single tokens, by hand and by the laws behind them; the peers' numbers are in test_peers.py."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.objectives.losses import (
    clipped,
    entropy,
    kl_k3,
    kl_to_reference,
    reinforce,
    sequence_clipped,
    truncated_importance,
)
from aepo_rllib.objectives.parts import TokenLoss, Tokens

F64 = torch.float64
logps = st.floats(-20, 0)


def tokens(logp_BT: torch.Tensor, old_logp_BT: torch.Tensor, advantage_BT: torch.Tensor) -> Tokens:
    """Without padding; one advantage a row is one for each of its tokens."""
    mask_BT = torch.ones_like(logp_BT, dtype=torch.bool)
    return Tokens(logp_BT, old_logp_BT, advantage_BT.expand(logp_BT.shape), mask_BT)


def one_token(ratio: float, advantage: float) -> Tokens:
    logp_BT = torch.tensor([[ratio]], dtype=F64).log().requires_grad_()
    return tokens(logp_BT, torch.zeros(1, 1, dtype=F64), torch.tensor([[advantage]], dtype=F64))


def random_tokens(rows: int = 3, width: int = 4, *, seed: int = 0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    old_logp_BT = -3 * torch.rand(rows, width, generator=generator, dtype=F64)
    logp_BT = old_logp_BT + 0.4 * torch.randn(rows, width, generator=generator, dtype=F64)
    return tokens(logp_BT.requires_grad_(), old_logp_BT, torch.randn(rows, 1, generator=generator, dtype=F64))


def gradient(loss: TokenLoss, given: Tokens) -> torch.Tensor:
    """Of the sum over tokens, on the log-probs."""
    return torch.autograd.grad(loss(given).sum(), given.logp)[0]


# --- The clipped surrogate ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
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
def test_the_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, slope: float) -> None:
    given, surrogate = one_token(ratio, advantage), partial(clipped, low=0.2, high=0.28)
    assert surrogate(given).item() == pytest.approx(loss)
    assert gradient(surrogate, given).item() == pytest.approx(slope)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [(2.5, -1.0, 2.5, 2.5), (3.5, -1.0, 3.0, 0.0), (9.0, -2.0, 6.0, 0.0), (0.5, -1.0, 0.8, 0.0), (3.5, 1.0, -1.2, 0.0)],
)
def test_the_dual_clip_bounds_the_loss_of_negative_advantages_alone(
    ratio: float, advantage: float, loss: float, slope: float
) -> None:
    given, surrogate = one_token(ratio, advantage), partial(clipped, dual=3.0)
    assert surrogate(given).item() == pytest.approx(loss)
    assert gradient(surrogate, given).item() == pytest.approx(slope)


@settings(deadline=None)
@given(advantage=st.floats(-3, 3), dual=st.sampled_from([None, 3.0]), seed=st.integers(0, 20))
def test_at_ratio_one_every_surrogate_is_reinforce(advantage: float, dual: float | None, seed: int) -> None:
    logp_BT = random_tokens(seed=seed).logp
    given = tokens(logp_BT, logp_BT.detach(), torch.full((3, 1), advantage, dtype=F64))
    for surrogate in (partial(clipped, dual=dual), sequence_clipped, reinforce):
        gradient_BT = gradient(surrogate, given)
        torch.testing.assert_close(gradient_BT, torch.full_like(gradient_BT, -advantage))


# --- That of sequences --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("shift", [1e-4, 3e-3, -1e-4, -3e-3])
def test_a_sequence_has_one_ratio_the_geometric_mean_of_its_tokens(advantage: float, shift: float) -> None:
    """By the formula, on the real tokens alone: the value at every token, and the gradient of its mean."""
    old_logp_BT = -torch.rand(2, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    noise_BT = torch.tensor([[2.0, -1.0, 0.5, 0.5], [1.0, 1.0, 9.0, 9.0]], dtype=F64)
    mask_BT = torch.tensor([[True] * 4, [True, True, False, False]])
    logp_BT = ((old_logp_BT + shift * noise_BT) * mask_BT).requires_grad_()
    advantage_BT = torch.full((2, 4), advantage, dtype=F64)
    given = Tokens(logp_BT, old_logp_BT * mask_BT, advantage_BT, mask_BT)
    low, high = 3e-4, 4e-4
    for row, length in enumerate((4, 2)):
        ratio = ((logp_BT[row, :length] - old_logp_BT[row, :length]).sum() / length).exp()
        expected = -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
        loss_T = sequence_clipped(given, low=low, high=high)[row, :length]
        torch.testing.assert_close(loss_T, expected.expand(length))
        slopes = (torch.autograd.grad(loss, logp_BT, retain_graph=True)[0] for loss in (loss_T.mean(), expected))
        torch.testing.assert_close(*slopes)


# --- REINFORCE ----------------------------------------------------------------------------------------------------


def test_reinforces_gradient_is_minus_advantage_times_the_score() -> None:
    logits_BTV = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=F64, requires_grad=True)
    token_ids_BT = torch.randint(5, (3, 4), generator=torch.Generator().manual_seed(1))
    advantage_B1 = torch.tensor([[1.0], [-0.5], [2.0]], dtype=F64)
    logp_BT = logits_BTV.log_softmax(-1).gather(-1, token_ids_BT.unsqueeze(-1)).squeeze(-1)
    loss = reinforce(tokens(logp_BT, torch.randn(3, 4), advantage_B1)).sum()
    (gradient_BTV,) = torch.autograd.grad(loss, logits_BTV)
    score_BTV = torch.nn.functional.one_hot(token_ids_BT, 5) - logits_BTV.detach().softmax(-1)
    torch.testing.assert_close(gradient_BTV, -advantage_B1.unsqueeze(2) * score_BTV)


def test_reinforce_ignores_where_the_tokens_came_from() -> None:
    given = random_tokens()
    torch.testing.assert_close(reinforce(given), reinforce(given._replace(old_logp=given.old_logp - 5)))


def test_correcting_tempered_rows_by_their_ratio_would_hide_the_temperature() -> None:
    """Corollary F: why `reinforce` has no ratio. The corrected gradient is the same at every temperature."""
    logits_V = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=F64)
    reward_V1 = torch.tensor([[1.0], [0.0], [1.0], [0.0], [1.0], [0.0]], dtype=F64)

    def expected_gradient(loss: TokenLoss, law_V: torch.Tensor) -> torch.Tensor:
        parameters_V = logits_V.clone().requires_grad_()
        loss_V = loss(tokens(parameters_V.log_softmax(-1)[:, None], law_V.log()[:, None], reward_V1))[:, 0]
        return torch.autograd.grad((law_V * loss_V).sum(), parameters_V)[0]

    laws = [(logits_V / temperature).softmax(-1) for temperature in (0.8, 1.2)]
    plain = [expected_gradient(reinforce, law_V) for law_V in laws]
    corrected = [expected_gradient(partial(clipped, low=9.0, high=9.0), law_V) for law_V in laws]
    torch.testing.assert_close(corrected[0], corrected[1], atol=1e-12, rtol=0)
    assert (plain[0] - plain[1]).abs().max() > 1e-3


# --- Entropy and KL -----------------------------------------------------------------------------------------------


def test_the_entropys_loss_is_the_entropy_with_its_gradient() -> None:
    entropy_BT = torch.rand(2, 3, dtype=F64).requires_grad_()
    given = random_tokens(2, 3)._replace(entropy=entropy_BT)
    assert torch.equal(entropy(given), entropy_BT)
    assert torch.autograd.grad(entropy(given).sum(), entropy_BT)[0].tolist() == [[1.0] * 3] * 2


@settings(deadline=None)
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
    divergence = (logp_V.exp() * (logp_V - other_V)).sum()
    torch.testing.assert_close((logp_V.exp() * kl_k3(logp_V, other_V)).sum(), divergence)
    given = tokens(logp_V[None], logp_V[None], torch.zeros(1, 1))._replace(ref_logp=other_V[None])
    torch.testing.assert_close((logp_V.exp() * kl_to_reference(given)[0]).sum(), divergence)


# --- Truncated importance -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(logps, logps, st.floats(1, 10))
def test_importance_is_the_ratio_up_to_its_cap(old: float, sampled: float, cap: float) -> None:
    importance = truncated_importance(torch.tensor(old, dtype=F64), torch.tensor(sampled, dtype=F64), cap)
    assert 0 < importance.item() <= cap
    assert importance.item() == pytest.approx(min(torch.tensor(old - sampled, dtype=F64).exp().item(), cap))


def test_importance_carries_no_gradient() -> None:
    assert not truncated_importance(torch.zeros(3, requires_grad=True), torch.ones(3), 2.0).requires_grad


@pytest.mark.parametrize("cap", [1e9, 1.5])
def test_the_expected_gradient_is_the_policys_up_to_the_cap(cap: float) -> None:
    """Over all tokens of a small vocabulary: E_mu[ min(pi/mu, cap) grad ] = sum_v min(pi, cap mu) grad_v."""
    generator = torch.Generator().manual_seed(5)
    logits_V = torch.randn(7, generator=generator, dtype=F64, requires_grad=True)
    engine_logp_V = (logits_V.detach() + 0.7 * torch.randn(7, generator=generator, dtype=F64)).log_softmax(-1)
    reward_V = torch.randn(7, generator=generator, dtype=F64)
    logp_V = logits_V.log_softmax(-1)
    old_logp_V = logp_V.detach()

    def expected_gradient(law_V: torch.Tensor, loss_V: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad((law_V * loss_V).sum(), logits_V, retain_graph=True)[0]

    given = tokens(logp_V[:, None], old_logp_V[:, None], reward_V[:, None])
    importance_V = truncated_importance(old_logp_V, engine_logp_V, cap)
    corrected = expected_gradient(engine_logp_V.exp(), importance_V * clipped(given)[:, 0])
    kept_V = torch.minimum(old_logp_V.exp(), cap * engine_logp_V.exp())
    torch.testing.assert_close(corrected, expected_gradient(kept_V, reinforce(given)[:, 0]))
    policy_gradient = expected_gradient(old_logp_V.exp(), -reward_V * logp_V)
    assert torch.allclose(corrected, policy_gradient) == (cap == 1e9)
