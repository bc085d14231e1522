"""Losses of single tokens. Each is a formula on `Tokens`; none knows denominators, coefficients or its method."""

from __future__ import annotations

from functools import partial

import torch

from aepo_rllib.objectives.parts import TokenLoss, Tokens, reads, zero_without_advantage

ROUNDING = 1e-4
"""|log r| of weights that have not moved, in nats."""


def log_ratio(t: Tokens) -> torch.Tensor:
    """log pi - log pi_old; whoever takes it reads "old_logp"."""
    assert t.old_logp is not None, 'a ratio needs @reads("old_logp")'
    return t.logp - t.old_logp


@zero_without_advantage
@reads("old_logp")
def clipped(t: Tokens, *, low: float = 0.2, high: float = 0.2, dual: float | None = None) -> torch.Tensor:
    """PPO's -min(r A, clip(r, 1 - low, 1 + high) A), with r = pi / pi_old per token (arXiv 1707.06347).

    With `dual` = c the loss of a negative advantage is at most -c A (Ye et al., arXiv 1912.09729; c = 3 in the authors'
    code of AEPO).
    """
    return _clipped(log_ratio(t).exp(), t.advantage, low, high, dual)


@zero_without_advantage
@reads("tempered_logp", "heated_logp")
def tempered_clipped(t: Tokens, *, low: float = 0.2, high: float = 0.2, dual: float | None = None) -> torch.Tensor:
    """The same of the tempered policy: r = pi^T / pi_old^T, at one temperature (E3-RL4LLMs)."""
    assert t.tempered_logp is not None
    assert t.heated_logp is not None
    return _clipped((t.tempered_logp - t.heated_logp).exp(), t.advantage, low, high, dual)


@zero_without_advantage
@reads("old_logp")
def sequence_clipped(t: Tokens, *, low: float = 3e-4, high: float = 4e-4) -> torch.Tensor:
    """GSPO's: the same with s = (pi(o) / pi_old(o))^(1/|o|) for every token of o (arXiv 2507.18071, eq. 7).

    Its value is that of the sequence, its gradient goes through every token.
    """
    length_B1 = t.mask.sum(1, keepdim=True).clamp_min(1)
    mean_B1 = (log_ratio(t) * t.mask).sum(1, keepdim=True) / length_B1
    return _clipped((mean_B1.detach() + t.logp - t.logp.detach()).exp(), t.advantage, low, high, None)


@zero_without_advantage
@reads("old_logp")
def completion_clipped(t: Tokens, *, low: float = 0.2, high: float = 0.2) -> torch.Tensor:
    """PPO's with one ratio for all of o, pi(o) / pi_old(o): a |o|-th of the completion's loss for every token, which a
    sum over tokens adds up (TRL's RLOO).
    """
    length_B1 = t.mask.sum(1, keepdim=True).clamp_min(1)
    ratio_B1 = (log_ratio(t) * t.mask).sum(1, keepdim=True).exp()
    return _clipped(ratio_B1, t.advantage, low, high, None) / length_B1


@zero_without_advantage
def reinforce(t: Tokens) -> torch.Tensor:
    """REINFORCE: -A log pi, whose gradient is -A grad log pi.

    There is no importance ratio, on purpose: on tempered rows a ratio against the tempered law makes the expected
    gradient independent of the temperature, and with it every hold on the entropy is lost (Corollary F in
    docs/method.md).
    """
    return -t.advantage * t.logp


@zero_without_advantage
@reads("old_logp")
def unclipped(t: Tokens) -> torch.Tensor:
    """The surrogate -r A without a clip."""
    return -log_ratio(t).exp() * t.advantage


@zero_without_advantage
@reads("old_logp")
def magnified(t: Tokens) -> torch.Tensor:
    """EntroPIC's r |A|: with a coefficient above 0 all tokens that it is of lose probability (arXiv 2511.15248)."""
    return log_ratio(t).exp() * t.advantage.abs()


@zero_without_advantage
@reads("old_logp")
def weighted_reinforce(t: Tokens, *, floor: float = 0.0, cap: float = 5.0) -> torch.Tensor:
    """CISPO's -sg(clip(r, floor, cap)) A log pi: the weight is clipped, and every token keeps its gradient
    (arXiv 2506.13585).
    """
    return -log_ratio(t).exp().clamp(floor, cap).detach() * t.advantage * t.logp


@zero_without_advantage
@reads("old_logp")
def soft_gated(t: Tokens, *, positive: float = 1.0, negative: float = 1.05) -> torch.Tensor:
    """SAPO's -A (4 / tau) sigmoid(tau (r - 1)), whose slope in r is 1 at r = 1 and fades (arXiv 2511.20347).

    Args:
        t: The tokens.
        positive, negative: The temperature tau where the advantage is above 0, and elsewhere.
    """
    tau_BT = torch.where(t.advantage > 0, t.advantage.new_tensor(positive), t.advantage.new_tensor(negative))
    return -t.advantage * 4.0 / tau_BT * (tau_BT * (log_ratio(t).exp() - 1.0)).sigmoid()


@zero_without_advantage
@reads("old_logp")
def gradient_preserving(
    t: Tokens, *, low: float = 0.2, high: float = 0.2, beta_low: float = 0.75, beta_high: float = 1.0
) -> torch.Tensor:
    """CE-GPPO's: a token beyond the clip keeps a gradient of size beta times the bound, be r what it may
    (arXiv 2509.20712).
    """
    ratio_BT, one_BT = log_ratio(t).exp(), (t.logp - t.logp.detach()).exp()
    below_BT = (ratio_BT < 1 - low) & (t.advantage < 0)
    above_BT = (ratio_BT > 1 + high) & (t.advantage > 0)
    beyond_BT = torch.where(below_BT, beta_low * (1 - low) * one_BT, beta_high * (1 + high) * one_BT)
    return -torch.where(below_BT | above_BT, beyond_BT, ratio_BT) * t.advantage


@zero_without_advantage
@reads("old_logp", "entropy")
def entropy_shaped(
    t: Tokens,
    *,
    alpha: float = 0.4,
    kappa: float = 2.0,
    low: float = 0.2,
    high: float = 0.2,
    dual: float | None = None,
) -> torch.Tensor:
    """Entropy-Adv's: `clipped` with the advantage A + min(alpha sg(H), |A| / kappa) (arXiv 2506.14758)."""
    assert t.entropy is not None
    bonus_BT = torch.minimum(alpha * t.entropy.detach(), t.advantage.abs() / kappa)
    return _clipped(log_ratio(t).exp(), t.advantage + bonus_BT, low, high, dual)


@reads("old_logp")
def distance(t: Tokens) -> torch.Tensor:
    """|log r|, KL-Cov's penalty (arXiv 2505.22617); 0 below `ROUNDING`, where its sign would be that of an error."""
    distance_BT = log_ratio(t).abs()
    return torch.where(distance_BT > ROUNDING, distance_BT, 0.0)


# --- Entropy ------------------------------------------------------------------------------------------------------


@reads("entropy")
def entropy(t: Tokens) -> torch.Tensor:
    """H(pi(.|o_<t)), exact and with its gradient; a coefficient below 0 makes it a bonus."""
    assert t.entropy is not None
    return t.entropy


@reads("core_entropy")
def core_entropy(t: Tokens) -> torch.Tensor:
    """H within the likeliest tokens that have most of the probability, with its gradient."""
    assert t.core_entropy is not None
    return t.core_entropy


def surprisal(t: Tokens) -> torch.Tensor:
    """-log pi of the sampled token: an estimate of the entropy whose gradient is none, and 0 in expectation."""
    return -t.logp


ENTROPY_LOSSES: dict[str, TokenLoss] = {"exact": entropy, "sampled": surprisal}
"""By estimator."""


# --- KL to a reference --------------------------------------------------------------------------------------------


def kl_k1(logp_BT: torch.Tensor, other_logp_BT: torch.Tensor) -> torch.Tensor:
    """log pi - log other: unbiased; its own gradient is 0 in expectation."""
    return logp_BT - other_logp_BT


def kl_abs(logp_BT: torch.Tensor, other_logp_BT: torch.Tensor) -> torch.Tensor:
    """|log pi - log other|."""
    return (logp_BT - other_logp_BT).abs()


def kl_k2(logp_BT: torch.Tensor, other_logp_BT: torch.Tensor) -> torch.Tensor:
    """(log pi - log other)^2 / 2, whose gradient is the KL's in expectation."""
    return (logp_BT - other_logp_BT).square() / 2


def kl_k3(logp_BT: torch.Tensor, other_logp_BT: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimate of KL(pi || other) per token, from tokens drawn from pi; never negative."""
    log_ratio_BT = other_logp_BT - logp_BT
    return torch.expm1(log_ratio_BT) - log_ratio_BT


KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3, "abs": kl_abs}


@reads("ref_logp")
def kl_to_reference(t: Tokens, *, estimator: str = "k3", straight_through: bool = False) -> torch.Tensor:
    """An estimate of KL(pi || pi_ref) per token, pi_ref having the run's starting weights.

    With `straight_through` the value is the estimator's and the gradient k2's, the KL's own in expectation.
    """
    assert t.ref_logp is not None
    kl_BT = KL_ESTIMATORS[estimator](t.logp, t.ref_logp)
    if not straight_through:
        return kl_BT
    slope_BT = kl_k2(t.logp, t.ref_logp)
    return kl_BT.detach() + slope_BT - slope_BT.detach()


@reads("old_logp", "ref_logp")
def corrected_kl(t: Tokens) -> torch.Tensor:
    """r k3, TRL's: with the ratio it stays unbiased, and so does its gradient, over several steps of a batch."""
    assert t.ref_logp is not None
    return log_ratio(t).exp() * kl_k3(t.logp, t.ref_logp)


KL_LOSSES: dict[str, TokenLoss] = {
    **{name: partial(kl_to_reference, estimator=name) for name in KL_ESTIMATORS},
    "k1+": partial(kl_to_reference, estimator="k1", straight_through=True),
    "k3+": partial(kl_to_reference, estimator="k3", straight_through=True),
    "k3_corrected": corrected_kl,
}
"""By the name `kl_estimator` gives."""


# --- Weights and clips --------------------------------------------------------------------------------------------


def truncated_importance(old_logp_BT: torch.Tensor, sampled_logp_BT: torch.Tensor, cap: float) -> torch.Tensor:
    """min(pi_old / mu, cap) per token: corrects for an engine whose law mu is not quite the learner's pi_old.

    Truncated importance sampling (Ionides 2008; per token for rollout engines: Yao et al. 2025). The same weights give
    different log-probs in an engine with kernels and precision of its own; without a cap the weighted gradient would be
    that of samples from pi_old, and the cap bounds its variance. 1 where both log-probs are the same. No gradient.
    """
    return (old_logp_BT - sampled_logp_BT).exp().clamp_max(cap).detach()


def clips(ratio_BT: torch.Tensor, advantage_BT: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Where PPO's clip binds, and takes the gradient."""
    return (ratio_BT.clamp(1 - low, 1 + high) - ratio_BT) * advantage_BT < 0


def _clipped(
    ratio_BT: torch.Tensor, advantage_BT: torch.Tensor, low: float, high: float, dual: float | None
) -> torch.Tensor:
    loss_BT = -torch.minimum(ratio_BT * advantage_BT, ratio_BT.clamp(1 - low, 1 + high) * advantage_BT)
    if dual is None:
        return loss_BT
    return torch.where(advantage_BT < 0, torch.minimum(loss_BT, -dual * advantage_BT), loss_BT)
