"""Losses of single tokens. Each is a formula on `Tokens`; none knows denominators, coefficients or its method."""

from __future__ import annotations

import torch

from aepo_rllib.objectives.parts import Tokens, reads, zero_without_advantage


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
@reads("old_logp")
def sequence_clipped(t: Tokens, *, low: float = 3e-4, high: float = 4e-4) -> torch.Tensor:
    """GSPO's: the same with s = (pi(o) / pi_old(o))^(1/|o|) for every token of o (arXiv 2507.18071, eq. 7).

    Its value is that of the sequence, its gradient goes through every token.
    """
    length_B1 = t.mask.sum(1, keepdim=True).clamp_min(1)
    mean_B1 = (log_ratio(t) * t.mask).sum(1, keepdim=True) / length_B1
    return _clipped((mean_B1.detach() + t.logp - t.logp.detach()).exp(), t.advantage, low, high, None)


@zero_without_advantage
def reinforce(t: Tokens) -> torch.Tensor:
    """REINFORCE: -A log pi, whose gradient is -A grad log pi.

    There is no importance ratio, on purpose: on tempered rows a ratio against the tempered law makes the expected
    gradient independent of the temperature, and with it every hold on the entropy is lost (Corollary F in
    docs/method.md).
    """
    return -t.advantage * t.logp


@reads("entropy")
def entropy(t: Tokens) -> torch.Tensor:
    """H(pi(.|o_<t)), exact and with its gradient; a coefficient below 0 makes it a bonus."""
    assert t.entropy is not None
    return t.entropy


def kl_k3(logp_BT: torch.Tensor, other_logp_BT: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimate of KL(pi || other) per token, from tokens drawn from pi; never negative."""
    log_ratio_BT = other_logp_BT - logp_BT
    return torch.expm1(log_ratio_BT) - log_ratio_BT


@reads("ref_logp")
def kl_to_reference(t: Tokens) -> torch.Tensor:
    """`kl_k3` against the run's starting weights."""
    assert t.ref_logp is not None
    return kl_k3(t.logp, t.ref_logp)


def truncated_importance(old_logp_BT: torch.Tensor, sampled_logp_BT: torch.Tensor, cap: float) -> torch.Tensor:
    """min(pi_old / mu, cap) per token: corrects for an engine whose law mu is not quite the learner's pi_old.

    Truncated importance sampling (Ionides 2008; per token for rollout engines: Yao et al. 2025). The same weights give
    different log-probs in an engine with kernels and precision of its own; without a cap the weighted gradient would be
    that of samples from pi_old, and the cap bounds its variance. 1 where both log-probs are the same. No gradient.
    """
    return (old_logp_BT - sampled_logp_BT).exp().clamp_max(cap).detach()


def _clipped(
    ratio_BT: torch.Tensor, advantage_BT: torch.Tensor, low: float, high: float, dual: float | None
) -> torch.Tensor:
    loss_BT = -torch.minimum(ratio_BT * advantage_BT, ratio_BT.clamp(1 - low, 1 + high) * advantage_BT)
    if dual is None:
        return loss_BT
    return torch.where(advantage_BT < 0, torch.minimum(loss_BT, -dual * advantage_BT), loss_BT)
