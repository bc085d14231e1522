"""The sampling law (temperature, then filters) and draws from it with one generator per completion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from aepo_rllib.rollout.engine import SamplingFilters


def uniforms(keys: Sequence[tuple[int, ...]], count: int) -> torch.Tensor:
    """`count` uniform numbers in [0, 1) for every key, as float64 (keys, count).

    Each row depends on its own key alone.
    """
    rows = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))).random(count) for key in keys]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, count, dtype=torch.float64)


def sampling_law(logits_BV: torch.Tensor, temperature_B: torch.Tensor, filters: SamplingFilters) -> torch.Tensor:
    """Probabilities (B, V) that tokens are drawn from."""
    probs_BV = (logits_BV / temperature_B.unsqueeze(-1)).softmax(-1)
    if not filters:
        return probs_BV
    sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True)
    if filters.top_k:
        sorted_BV[..., filters.top_k :] = 0.0
        sorted_BV /= sorted_BV.sum(-1, keepdim=True)
    if filters.top_p < 1:
        # Keep the smallest set whose mass reaches top_p: a token stays while the mass before it is below.
        before_BV = sorted_BV.cumsum(-1) - sorted_BV
        sorted_BV[before_BV >= filters.top_p] = 0.0
    if filters.min_p > 0:
        sorted_BV[sorted_BV < filters.min_p * sorted_BV[..., :1]] = 0.0
    filtered_BV = torch.zeros_like(probs_BV).scatter_(-1, order_BV, sorted_BV)
    return filtered_BV / filtered_BV.sum(-1, keepdim=True)


def draw(probs_BV: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """One token id per row by inverse CDF."""
    cdf_BV = probs_BV.to(torch.float64, copy=True).cumsum_(-1)  # in place: a vocabulary's width in 64 bits is enough
    # Scaling by the last entry keeps the draw inside the support where rounding leaves the sum off 1.
    threshold_B1 = (uniform_B * cdf_BV[:, -1]).unsqueeze(-1)
    return torch.searchsorted(cdf_BV, threshold_B1, right=True).squeeze(-1).clamp_max(probs_BV.shape[-1] - 1)
