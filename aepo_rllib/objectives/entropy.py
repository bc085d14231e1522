"""What a policy says about one token: its log-prob, its entropy and the variance of its logits.

Two estimators of a policy's entropy exist here, and neither is ever called just "entropy" in a log:

* *exact entropy*: the Shannon entropy of the whole next-token distribution, from logits;
* *sampled surprisal*: minus the log-prob of the sampled token. Its mean over tokens drawn from the policy itself
  (T = 1, no top-p/top-k) is an unbiased estimate of the mean exact entropy.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class TokenStatistics(NamedTuple):
    """Per-token figures of the policy at T = 1, all of one shape; entropy and surprisal in nats.

    Attributes:
        logp: log pi(token).
        entropy: exact entropy of pi.
        logit_variance: Var_pi(z), which Lemma A turns into dH/dT = Var(z) / T^3.
    """

    logp: torch.Tensor
    entropy: torch.Tensor
    logit_variance: torch.Tensor


def distribution_moments(logp_V: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact entropy and logit variance of normalised log-probs over the last axis.

    Logits and log-probs differ by a constant, so Var(z) = Var(log p). Impossible tokens (log-prob -inf) count 0.
    """
    p_V = logp_V.exp()
    finite_logp_V = logp_V.masked_fill(p_V == 0, 0.0)
    mean = (p_V * finite_logp_V).sum(-1)
    # Centred first: E[x^2] - E[x]^2 cancels where the distribution is nearly uniform.
    return -mean, (p_V * (finite_logp_V - mean.unsqueeze(-1)).square()).sum(-1)


def token_statistics(logits_BTV: torch.Tensor, token_ids_BT: torch.Tensor) -> TokenStatistics:
    """Statistics of the tokens under the policy that the logits define, in float32.

    Only `logp` carries a gradient; entropy and variance are measurements.
    """
    logp_BTV = logits_BTV.float().log_softmax(-1) if logits_BTV.dtype != torch.float64 else logits_BTV.log_softmax(-1)
    logp_BT = logp_BTV.gather(-1, token_ids_BT.unsqueeze(-1)).squeeze(-1)
    entropy_BT, variance_BT = distribution_moments(logp_BTV.detach())
    return TokenStatistics(logp_BT, entropy_BT, variance_BT)
