"""Selections: which tokens of an optimizer step a term sees. Each looks at the rows of all learners at once.

The peers choose within a micro-batch, so that their choice depends on its size; here a batch has one choice.
"""

from __future__ import annotations

import math

import torch

from aepo_rllib.objectives.losses import clips, log_ratio
from aepo_rllib.objectives.parts import Tokens, reads


@reads("entropy")
def most_uncertain(t: Tokens, generator: torch.Generator, *, share: float = 0.2) -> torch.Tensor:
    """1 on the tokens of the highest entropy, the given share of all; ties with the last are in (arXiv 2506.01939)."""
    assert t.entropy is not None
    return (t.mask & (t.entropy >= _quantile(t.entropy[t.mask], 1 - share))).to(t.logp.dtype)


def surest(t: Tokens, generator: torch.Generator, *, probability: float = 0.95) -> torch.Tensor:
    """EntroPIC's: of tokens that the policy gives more than this, so weighted that a mean over all is one over them
    (arXiv 2511.15248).
    """
    sure_BT = t.mask & (t.logp > math.log(probability))
    return sure_BT * (t.mask.sum() / sure_BT.sum().clamp_min(1)).to(t.logp.dtype)


@reads("core_entropy")
def most_uncertain_of_each(t: Tokens, generator: torch.Generator, *, share: float = 0.2) -> torch.Tensor:
    """SIREN's: of every row the tokens of the highest entropy, so weighted that a mean over its tokens is one over them
    (arXiv 2509.25133).
    """
    assert t.core_entropy is not None
    edge_B1 = t.core_entropy.masked_fill(~t.mask, torch.nan).nanquantile(1 - share, dim=1, keepdim=True)
    chosen_BT = t.mask & (t.core_entropy >= edge_B1)
    length_B1, chosen_B1 = (places_BT.sum(1, keepdim=True).to(t.logp.dtype) for places_BT in (t.mask, chosen_BT))
    return chosen_BT * length_B1 / chosen_B1.clamp_min(1)


def covariance(t: Tokens) -> torch.Tensor:
    """(A - mean A) (log pi - mean log pi) of every token, whose mean is how fast a step lowers the entropy."""
    advantage_BT, logp_BT = (values_BT - values_BT[t.mask].mean() for values_BT in (t.advantage, t.logp))
    return advantage_BT * logp_BT


@reads("old_logp")
def without_covarying(
    t: Tokens,
    generator: torch.Generator,
    *,
    share: float,
    covariance_low: float,
    covariance_high: float,
    clip_low: float,
    clip_high: float,
) -> torch.Tensor:
    """Clip-Cov: 0 on tokens drawn from those of a covariance between the bounds that PPO's clip leaves alone, so many
    as `share` of all tokens, at least one; 1 on the others (arXiv 2505.22617).
    """
    covariance_BT = covariance(t)
    candidate_BT = t.mask & (covariance_BT > covariance_low) & (covariance_BT < covariance_high)
    candidate_BT &= ~clips(log_ratio(t).exp(), t.advantage, clip_low, clip_high)
    places_K = candidate_BT.flatten().nonzero()[:, 0]
    drawn_K = places_K[torch.randperm(len(places_K), generator=generator)][: max(int(share * int(t.mask.sum())), 1)]
    return torch.ones_like(t.logp).flatten().index_fill(0, drawn_K, 0.0).view_as(t.logp)


def most_covarying(t: Tokens, generator: torch.Generator, *, share: float) -> torch.Tensor:
    """KL-Cov: 1 on the tokens of the largest covariance, `share` of all, at least one (arXiv 2505.22617)."""
    covariance_N = covariance(t).masked_fill(~t.mask, -torch.inf).flatten()
    largest_K = covariance_N.topk(max(int(share * int(t.mask.sum())), 1)).indices
    return torch.zeros_like(covariance_N).index_fill(0, largest_K, 1.0).view_as(t.logp)


def _quantile(values_N: torch.Tensor, share: float) -> torch.Tensor:
    """As `torch.quantile`, which takes no more than 2^24 values."""
    ascending_N, place = values_N.sort().values, share * (len(values_N) - 1)
    below = int(place)
    return ascending_N[below].lerp(ascending_N[min(below + 1, len(ascending_N) - 1)], place - below)
