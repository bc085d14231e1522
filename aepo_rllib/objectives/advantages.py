"""Advantages of graded groups: pure functions to (P, G), for P prompts with a group of G completions each.

A reward that was never judged (its grader timed out or crashed) leaves the baseline and has advantage 0. The weights of
AEPO's tempered stream are advantages like any other: the paper's rule is `positive_reward`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

STD_EPS = 1e-6
"""Added to the standard deviation, as in verl and the authors' code (TRL: 1e-4)."""
POSITIVE_ADVANTAGE = 0.05
"""The authors' threshold for a positive sample."""


class Graded:
    """What an advantage may read of a stream's groups, each (P, G).

    Args:
        rewards_PG: Of the completions.
        usable_PG: Whether they were judged; None: all were.
        lengths_PG: Tokens of the completions, or a function that counts them.
        log_importance_PG: log pi(o) - log of the law that the completion was drawn from, summed over its tokens, or a
            function that finds it; None where an engine does not tell it.
    """

    def __init__(
        self,
        rewards_PG: torch.Tensor,
        usable_PG: torch.Tensor | None = None,
        lengths_PG: torch.Tensor | Callable[[], torch.Tensor] | None = None,
        log_importance_PG: torch.Tensor | Callable[[], torch.Tensor | None] | None = None,
    ) -> None:
        if rewards_PG.ndim != 2:
            raise ValueError(f"rewards must be (prompts, group), got shape {tuple(rewards_PG.shape)}")
        self.rewards_PG, self.usable_PG = rewards_PG, usable_PG
        self._lengths, self._log_importance = lengths_PG, log_importance_PG

    @property
    def judged_PG(self) -> torch.Tensor:
        """`usable_PG`, or all True."""
        return torch.ones_like(self.rewards_PG, dtype=torch.bool) if self.usable_PG is None else self.usable_PG

    @property
    def lengths_PG(self) -> torch.Tensor | None:
        """Tokens of the completions; counted when asked."""
        return self._lengths() if callable(self._lengths) else self._lengths

    @property
    def log_importance_PG(self) -> torch.Tensor | None:
        """log pi(o) - log of the law it was drawn from; found when asked."""
        return self._log_importance() if callable(self._log_importance) else self._log_importance


Advantage = Callable[[Graded], torch.Tensor]
"""From graded groups to advantages (P, G)."""


def centred(groups: Graded) -> torch.Tensor:
    """Dr. GRPO's R_i - mean of the group (arXiv 2503.20783); 0 in a group with fewer than two judged rewards."""
    usable_PG, count_P1 = groups.judged_PG, groups.judged_PG.sum(1, keepdim=True)
    rewards_PG = groups.rewards_PG.masked_fill(~usable_PG, 0.0)
    centred_PG = (rewards_PG - rewards_PG.sum(1, keepdim=True) / count_P1.clamp_min(1)) * usable_PG
    # Equal rewards that binary cannot hold (0.9) differ from their computed mean, and a tiny std would blow that up.
    lowest_P1 = rewards_PG.masked_fill(~usable_PG, torch.inf).amin(1, keepdim=True)
    highest_P1 = rewards_PG.masked_fill(~usable_PG, -torch.inf).amax(1, keepdim=True)
    return centred_PG * (highest_P1 > lowest_P1)


def group_normalised(groups: Graded, *, eps: float = STD_EPS) -> torch.Tensor:
    """GRPO's A_i = (R_i - mean) / (std + eps), with the unbiased std (n - 1) of the group (arXiv 2402.03300)."""
    centred_PG, count_P1 = centred(groups), groups.judged_PG.sum(1, keepdim=True)
    variance_P1 = centred_PG.square().sum(1, keepdim=True) / (count_P1 - 1).clamp_min(1)
    return centred_PG / (variance_P1.sqrt() + eps)


def leave_one_out(groups: Graded) -> torch.Tensor:
    """RLOO's A_i = R_i - mean of the others = G / (G - 1) (R_i - mean) (arXiv 2402.14740)."""
    count_P1 = groups.judged_PG.sum(1, keepdim=True)
    return centred(groups) * count_P1 / (count_P1 - 1).clamp_min(1)


def positive_reward(groups: Graded) -> torch.Tensor:
    """max(R(q, o), 0): AEPO's positives alone. The paper's R is 0 or 1; one in between weighs as much as it is."""
    return groups.rewards_PG.clamp_min(0.0)


def positive_advantage(groups: Graded) -> torch.Tensor:
    """1 where the advantage within the group exceeds 0.05, as in the authors' code: an all-correct group has none."""
    return (group_normalised(groups) > POSITIVE_ADVANTAGE).to(groups.rewards_PG.dtype)


def signed(groups: Graded) -> torch.Tensor:
    """+1 for correct, -1 for wrong: an ablation, hot negatives undo what hot positives do (Corollary E)."""
    return torch.where(groups.rewards_PG > 0, 1.0, -1.0).to(groups.rewards_PG.dtype)


def importance_corrected(groups: Graded) -> torch.Tensor:
    """max(R, 0) pi(o) / pi^T(o): an ablation, the expected gradient no longer depends on T (Corollary F).

    Raises:
        ValueError: the engine does not tell the log-probs of the law it sampled from.
    """
    log_importance_PG = groups.log_importance_PG
    if log_importance_PG is None:
        raise ValueError("the correction needs log-probs under the tempered law, which this engine hides")
    return groups.rewards_PG.clamp_min(0.0) * log_importance_PG.exp().to(groups.rewards_PG.dtype)
