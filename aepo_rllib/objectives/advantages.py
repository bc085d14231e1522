"""Group-relative advantages: pure functions from rewards (P, G) to advantages (P, G).

A group is the G completions of one prompt. `usable` marks rewards that were really judged; an unusable one
(grader timed out or crashed) leaves the baseline and gets advantage 0.
"""

from __future__ import annotations

import torch

STD_EPS = 1e-6
"""Added to the standard deviation, as in verl and the authors' code (TRL: 1e-4)."""


def group_advantages(
    rewards_PG: torch.Tensor,
    usable_PG: torch.Tensor | None = None,
    *,
    scale_by_std: bool = True,
    eps: float = STD_EPS,
) -> torch.Tensor:
    """GRPO's A_i = (R_i - mean) / (std + eps), with the unbiased std (n - 1) of the group.

    With `scale_by_std=False` it is Dr. GRPO's R_i - mean. A group with fewer than two usable rewards has
    advantage 0, because it has no baseline.
    """
    if rewards_PG.ndim != 2:
        raise ValueError(f"rewards must be (prompts, group), got shape {tuple(rewards_PG.shape)}")
    usable_PG = torch.ones_like(rewards_PG, dtype=torch.bool) if usable_PG is None else usable_PG
    rewards_PG = rewards_PG.masked_fill(~usable_PG, 0.0)
    count_P1 = usable_PG.sum(1, keepdim=True)
    centred_PG = (rewards_PG - rewards_PG.sum(1, keepdim=True) / count_P1.clamp_min(1)) * usable_PG
    # Equal rewards that binary cannot hold (0.9) differ from their computed mean, and a tiny std would blow that up.
    lowest_P1 = rewards_PG.masked_fill(~usable_PG, torch.inf).amin(1, keepdim=True)
    highest_P1 = rewards_PG.masked_fill(~usable_PG, -torch.inf).amax(1, keepdim=True)
    centred_PG = centred_PG * (highest_P1 > lowest_P1)
    if scale_by_std:
        variance_P1 = centred_PG.square().sum(1, keepdim=True) / (count_P1 - 1).clamp_min(1)
        centred_PG = centred_PG / (variance_P1.sqrt() + eps)
    return centred_PG


def leave_one_out_advantages(rewards_PG: torch.Tensor, usable_PG: torch.Tensor | None = None) -> torch.Tensor:
    """RLOO's A_i = R_i - mean of the others = G / (G - 1) (R_i - mean)."""
    usable_PG = torch.ones_like(rewards_PG, dtype=torch.bool) if usable_PG is None else usable_PG
    count_P1 = usable_PG.sum(1, keepdim=True)
    centred_PG = group_advantages(rewards_PG, usable_PG, scale_by_std=False)
    return centred_PG * count_P1 / (count_P1 - 1).clamp_min(1)
