"""How far a learner's policy is from the engine's that sampled."""

from __future__ import annotations

from typing import NamedTuple

import torch

from aepo_rllib.objectives.losses import kl_k3


class Movement(NamedTuple):
    """Over the tokens that count; scalars.

    Attributes:
        deviation: Largest |ratio - 1|.
        largest_gap: Largest |log ratio|, in nats.
        gap: |log ratio|, summed over tokens.
        kl: k3 estimate of KL(old || new), summed over tokens.
        tokens: Their number.
    """

    deviation: torch.Tensor
    largest_gap: torch.Tensor
    gap: torch.Tensor
    kl: torch.Tensor
    tokens: torch.Tensor


def movement(logp_NT: torch.Tensor, old_logp_NT: torch.Tensor, mask_NT: torch.Tensor) -> Movement:
    """Compare log-probs of the same tokens; those outside the mask may be anything."""
    log_ratio_NT = torch.where(mask_NT, logp_NT - old_logp_NT, torch.zeros_like(logp_NT))
    kl_NT = kl_k3(torch.zeros_like(log_ratio_NT), log_ratio_NT)
    deviation = (log_ratio_NT.exp() - 1).abs().max()
    gap_NT = log_ratio_NT.abs()
    return Movement(deviation, gap_NT.max(), gap_NT.sum(), kl_NT.sum(), mask_NT.sum())
