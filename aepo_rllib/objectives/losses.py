"""Policy-gradient objectives as pure functions on tensors.

A surrogate maps per-token log-probs to per-token *losses*; it knows neither masks nor denominators. Those are
row weights (`row_weights`), applied once by `weighted_sum`. A method's loss is a sum of components, each a
surrogate over its own rows with its own count:

    loss = sum_c coefficient_c * sum_{rows i of c} weight_i * sum_t mask_it * importance_it * surrogate_c(i, t)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

Surrogate = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(logp_BT, old_logp_BT, advantage_B) -> loss_BT."""


class Component(NamedTuple):
    """One term of a loss.

    Attributes:
        surrogate: Per-token loss.
        coefficient: What the term is multiplied by (alpha, for the tempered term of AEPO).
    """

    surrogate: Surrogate
    coefficient: float = 1.0


def clipped_surrogate(
    logp_BT: torch.Tensor,
    old_logp_BT: torch.Tensor,
    advantage_B: torch.Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
    dual_clip: float | None = None,
) -> torch.Tensor:
    """PPO's -min(r A, clip(r, 1 - low, 1 + high) A), with r = pi / pi_old per token.

    With `dual_clip` = c the loss of a negative advantage is at most -c A (Ye et al. 2020; c = 3 in the authors'
    code).
    """
    ratio_BT = (logp_BT - old_logp_BT).exp()
    advantage_BT = advantage_B.unsqueeze(-1)
    loss_BT = -torch.minimum(ratio_BT * advantage_BT, ratio_BT.clamp(1 - low, 1 + high) * advantage_BT)
    if dual_clip is None:
        return loss_BT
    return torch.where(advantage_BT < 0, torch.minimum(loss_BT, -dual_clip * advantage_BT), loss_BT)


def reinforce(logp_BT: torch.Tensor, old_logp_BT: torch.Tensor, advantage_B: torch.Tensor) -> torch.Tensor:
    """REINFORCE: -A log pi, whose gradient is -A grad log pi.

    There is no importance ratio, on purpose: on tempered rows a ratio against the tempered law makes the
    expected gradient independent of the temperature, and with it every hold on the entropy is lost
    (Corollary F in docs/method.md).
    """
    return -advantage_B.unsqueeze(-1) * logp_BT


def truncated_importance(old_logp_BT: torch.Tensor, sampled_logp_BT: torch.Tensor, cap: float) -> torch.Tensor:
    """min(pi_old / mu, cap) per token: corrects for an engine whose law mu is not quite the learner's pi_old.

    Truncated importance sampling (Ionides 2008; per token for rollout engines: Yao et al. 2025). The same weights give
    different log-probs in an engine with kernels and precision of its own; without a cap the weighted gradient would be
    that of samples from pi_old, and the cap bounds its variance. 1 where both log-probs are the same. No gradient.
    """
    return (old_logp_BT - sampled_logp_BT).exp().clamp_max(cap).detach()


def row_weights(
    lengths: Sequence[int], *, aggregation: str, max_length: int | None = None, micro_batch_size: int | None = None
) -> list[float]:
    """Weights that turn a sum over rows and tokens into the named mean.

    Args:
        lengths: Tokens of every row that *counts*, over all learners, whether or not it carries gradient.
        aggregation: "token-mean" (all tokens alike), "seq-mean-token-mean" (all rows alike; the GRPO paper),
            "seq-mean-token-sum-norm" (Dr. GRPO: divided by rows x `max_length`) or "micro-batch-token-mean" (mean over
            micro-batches of their token means: rows beside short ones weigh more; the authors' code of AEPO).
        max_length: The generation budget in tokens, for "seq-mean-token-sum-norm".
        micro_batch_size: Neighbouring rows of a micro-batch, for "micro-batch-token-mean".

    Returns:
        One weight per row.

    Raises:
        ValueError: unknown aggregation, or what it needs is missing.
    """
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {aggregation!r}; choose one of {', '.join(AGGREGATIONS)}")
    rows = len(lengths)
    if not lengths:
        return []
    if aggregation == "token-mean":
        return [1.0 / sum(lengths)] * rows
    if aggregation == "seq-mean-token-mean":
        return [1.0 / (rows * length) for length in lengths]
    if aggregation == "micro-batch-token-mean":
        if micro_batch_size is None:
            raise ValueError("micro-batch-token-mean needs micro_batch_size")
        parts = [lengths[start : start + micro_batch_size] for start in range(0, rows, micro_batch_size)]
        return [1.0 / (len(parts) * sum(part)) for part in parts for _ in part]
    if max_length is None:
        raise ValueError("seq-mean-token-sum-norm needs max_length")
    return [1.0 / (rows * max_length)] * rows


AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm", "micro-batch-token-mean")


def weighted_sum(loss_BT: torch.Tensor, mask_BT: torch.Tensor, weight_B: torch.Tensor) -> torch.Tensor:
    """sum_i weight_i sum_t mask_it loss_it; a differentiable zero when no row or token counts."""
    return (torch.where(mask_BT, loss_BT, torch.zeros_like(loss_BT)).sum(-1) * weight_B).sum()


def composed_loss(
    components: Sequence[Component],
    component_B: torch.Tensor,
    logp_BT: torch.Tensor,
    old_logp_BT: torch.Tensor,
    advantage_B: torch.Tensor,
    mask_BT: torch.Tensor,
    weight_B: torch.Tensor,
    importance_BT: torch.Tensor | None = None,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The whole loss and the value of each component, coefficient included.

    `component_B` says which entry of `components` a row belongs to; `importance_BT` multiplies the token losses.
    Padding may hold anything, NaN included.
    """
    # Masked before the surrogates too: their own backward pass would make 0 * NaN of it.
    logp_BT = torch.where(mask_BT, logp_BT, torch.zeros_like(logp_BT))
    old_logp_BT = torch.where(mask_BT, old_logp_BT, torch.zeros_like(old_logp_BT))
    terms = []
    for index, component in enumerate(components):
        loss_BT = component.surrogate(logp_BT, old_logp_BT, advantage_B)
        if importance_BT is not None:
            loss_BT = importance_BT * loss_BT
        own_weight_B = torch.where(component_B == index, weight_B, torch.zeros_like(weight_B))
        terms.append(component.coefficient * weighted_sum(loss_BT, mask_BT, own_weight_B))
    return torch.stack(terms).sum(), terms


def kl_k3(logp_BT: torch.Tensor, other_logp_BT: torch.Tensor) -> torch.Tensor:
    """Schulman's k3 estimate of KL(pi || other) per token, from tokens drawn from pi; never negative."""
    log_ratio_BT = other_logp_BT - logp_BT
    return torch.expm1(log_ratio_BT) - log_ratio_BT
