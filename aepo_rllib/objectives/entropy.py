"""What a policy says about one token: its log-prob, its entropy and the variance of its logits.

Two estimators of a policy's entropy exist here, and neither is ever called just "entropy" in a log:

* *exact entropy*: the Shannon entropy of the whole next-token distribution, from logits;
* *sampled surprisal*: minus the log-prob of the sampled token. Its mean over tokens drawn from the policy itself
  (T = 1, no top-p/top-k) is an unbiased estimate of the mean exact entropy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch


class TokenStatistics(NamedTuple):
    """Per-token figures of the policy at T = 1, all of one shape; entropy and surprisal in nats.

    Attributes:
        logp: log pi(token), with its gradient.
        entropy: Exact entropy of pi, with its gradient; None where it was not read, as those below.
        logit_variance: Var_pi(z), which Lemma A turns into dH/dT = Var(z) / T^3. A measurement, without gradient.
        heated_logp: log pi_T(token) at another temperature, with its gradient.
        core_entropy: Exact entropy within the core of pi, with its gradient, see `core_log_probs`.
    """

    logp: torch.Tensor
    entropy: torch.Tensor | None = None
    logit_variance: torch.Tensor | None = None
    heated_logp: torch.Tensor | None = None
    core_entropy: torch.Tensor | None = None


CORE_MASS = 0.8
"""Most probability of the core of a law: the p of SIREN (arXiv 2509.25133)."""


def distribution_moments(logp_V: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact entropy and logit variance of normalised log-probs over the last axis.

    Logits and log-probs differ by a constant, so Var(z) = Var(log p). Impossible tokens (log-prob -inf) count 0.
    """
    p_V, finite_logp_V = possible(logp_V)
    mean = (p_V * finite_logp_V).sum(-1)
    # Centred first: E[x^2] - E[x]^2 cancels where the distribution is nearly uniform.
    return -mean, (p_V * (finite_logp_V - mean.unsqueeze(-1)).square()).sum(-1)


def tempering_gain(logp_V: torch.Tensor) -> torch.Tensor:
    """D'(1) = sum pi^2 (log pi + H)^2 of normalised log-probs over the last axis, in nats (Theorem C).

    By how much a REINFORCE step on samples of pi^T, all of them rewarded, moves the entropy of pi: D'(1) (T - 1) to
    first order, per unit of step along the gradient of this token's logits.
    """
    p_V, finite_logp_V = possible(logp_V)
    mean = (p_V * finite_logp_V).sum(-1, keepdim=True)
    return (p_V * (finite_logp_V - mean)).square().sum(-1)


def exact_entropy(logp_V: torch.Tensor) -> torch.Tensor:
    """Exact entropy of normalised log-probs over the last axis, whose gradient keeps nothing but the log-probs."""
    apply: Callable[[torch.Tensor], torch.Tensor] = _ExactEntropy.apply
    return apply(logp_V)


def core_log_probs(logp_V: torch.Tensor, mass: float = CORE_MASS) -> torch.Tensor:
    """Log-probs within the likeliest tokens that have at most the mass together, at least one; -inf for all others."""
    ordered_V, order_V = logp_V.detach().sort(-1, descending=True)
    beyond_V = ordered_V.exp().cumsum(-1) > mass
    beyond_V[..., 0] = False
    return logp_V.masked_fill(beyond_V.scatter(-1, order_V, beyond_V), -torch.inf).log_softmax(-1)


def token_statistics(
    logits_BTV: torch.Tensor,
    token_ids_BT: torch.Tensor,
    reads: Collection[str] = ("entropy", "logit_variance"),
    *,
    temperature: float | torch.Tensor = 1.0,
) -> TokenStatistics:
    """Statistics of the tokens under the policy that the logits define, in float32 (float64 of float64 logits).

    Args:
        logits_BTV: Raw logits.
        token_ids_BT: The tokens.
        reads: Fields of `TokenStatistics` that are computed beside `logp`; a vocabulary's width of work for each.
        temperature: Of `heated_logp`; one for all tokens, or one each.
    """
    logp_BTV = logits_BTV.float().log_softmax(-1) if logits_BTV.dtype != torch.float64 else logits_BTV.log_softmax(-1)
    logp_BT = logp_BTV.gather(-1, token_ids_BT.unsqueeze(-1)).squeeze(-1)
    return TokenStatistics(
        logp_BT,
        exact_entropy(logp_BTV) if "entropy" in reads else None,
        distribution_moments(logp_BTV.detach())[1] if "logit_variance" in reads else None,
        heated(logp_BTV, logp_BT, temperature) if "heated_logp" in reads else None,
        exact_entropy(core_log_probs(logp_BTV)) if "core_entropy" in reads else None,
    )


class _ExactEntropy(torch.autograd.Function):
    """-sum_v p_v log p_v as a function of log p; plain autograd would keep p and each product, a vocabulary wide."""

    @staticmethod
    def forward(ctx: Any, logp_V: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logp_V)
        p_V, finite_logp_V = possible(logp_V)
        return -p_V.mul_(finite_logp_V).sum(-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        p_V, finite_logp_V = possible(*ctx.saved_tensors)
        return p_V.mul_(finite_logp_V.add_(1)).mul_(-gradient.unsqueeze(-1))


def possible(logp_V: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities, and their logarithms with 0 in place of an impossible token's."""
    p_V = logp_V.exp()
    return p_V, logp_V.masked_fill(p_V == 0, 0.0)


def heated(logp_V: torch.Tensor, logp: torch.Tensor, temperature: float | torch.Tensor) -> torch.Tensor:
    """log-prob of the tokens when logits are divided by `temperature`, one for all of them or one each."""
    wide = temperature.unsqueeze(-1) if isinstance(temperature, torch.Tensor) else temperature
    return logp / temperature - (logp_V / wide).logsumexp(-1)
