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
    def counts_P1(self) -> torch.Tensor:
        """Judged completions of every group."""
        return self.judged_PG.sum(1, keepdim=True)

    @property
    def judged_rewards_PG(self) -> torch.Tensor:
        """The rewards, 0 where nobody judged."""
        return self.rewards_PG.masked_fill(~self.judged_PG, 0.0)

    @property
    def varied_P1(self) -> torch.Tensor:
        """Whether a group's judged rewards differ: asked of the rewards, for equal ones may differ from their mean."""
        lowest_P1 = self.rewards_PG.masked_fill(~self.judged_PG, torch.inf).amin(1, keepdim=True)
        return self.rewards_PG.masked_fill(~self.judged_PG, -torch.inf).amax(1, keepdim=True) > lowest_P1

    @property
    def lengths_PG(self) -> torch.Tensor | None:
        """Tokens of the completions; counted when asked."""
        return self._lengths() if callable(self._lengths) else self._lengths

    @property
    def log_importance_PG(self) -> torch.Tensor | None:
        """log pi(o) - log of the law it was drawn from; found when asked."""
        return self._log_importance() if callable(self._log_importance) else self._log_importance

    def with_rewards(self, rewards_PG: torch.Tensor) -> Graded:
        """The same groups with other rewards."""
        return Graded(rewards_PG, self.usable_PG, self._lengths, self._log_importance)


Advantage = Callable[[Graded], torch.Tensor]
"""From graded groups to advantages (P, G)."""


def centred(groups: Graded) -> torch.Tensor:
    """Dr. GRPO's R_i - mean of the group (arXiv 2503.20783); 0 in a group with fewer than two judged rewards."""
    mean_P1 = groups.judged_rewards_PG.sum(1, keepdim=True) / groups.counts_P1.clamp_min(1)
    # Equal rewards that binary cannot hold (0.9) differ from their computed mean, and a tiny std would blow that up.
    return (groups.judged_rewards_PG - mean_P1) * groups.judged_PG * groups.varied_P1


def deviation(groups: Graded) -> torch.Tensor:
    """The unbiased standard deviation (n - 1) of every group's rewards, (P, 1)."""
    return (centred(groups).square().sum(1, keepdim=True) / (groups.counts_P1 - 1).clamp_min(1)).sqrt()


def group_normalised(groups: Graded, *, eps: float = STD_EPS) -> torch.Tensor:
    """GRPO's A_i = (R_i - mean) / (std + eps), with the unbiased std (n - 1) of the group (arXiv 2402.03300)."""
    return centred(groups) / (deviation(groups) + eps)


def leave_one_out(groups: Graded) -> torch.Tensor:
    """RLOO's A_i = R_i - mean of the others = G / (G - 1) (R_i - mean) (arXiv 2402.14740)."""
    return centred(groups) * groups.counts_P1 / (groups.counts_P1 - 1).clamp_min(1)


def mean_normalised(groups: Graded) -> torch.Tensor:
    """MaxRL's A_i = (R_i - mean) / mean (arXiv 2602.02710); 0 where the mean is not above 0."""
    mean_P1 = groups.judged_rewards_PG.sum(1, keepdim=True) / groups.counts_P1.clamp_min(1)
    return torch.where(mean_P1 > 0, centred(groups) / torch.where(mean_P1 > 0, mean_P1, 1.0), 0.0)


def length_weighted(groups: Graded) -> torch.Tensor:
    """OPO's R_i - sum_j l_j R_j / sum_j l_j, l being lengths in tokens (arXiv 2505.23585)."""
    weight_PG = _lengths(groups) * groups.judged_PG
    baseline_P1 = (groups.judged_rewards_PG * weight_PG).sum(1, keepdim=True) / weight_PG.sum(
        1, keepdim=True
    ).clamp_min(1)
    return (groups.judged_rewards_PG - baseline_P1) * groups.judged_PG * groups.varied_P1


def quantile_centred(groups: Graded, *, quantile: float = 0.4, eps: float = STD_EPS) -> torch.Tensor:
    """QAE's (R_i - b) / (std + eps), b being the smallest reward that a share K of the group does not exceed.

    Of rewards 0 and 1: successes alone where at most 1 - K succeed, failures alone elsewhere (arXiv 2509.22611, eq. 4).
    """
    ascending_PG = groups.rewards_PG.masked_fill(~groups.judged_PG, torch.inf).sort(1).values
    place_P1 = (quantile * groups.counts_P1 - 1e-6).ceil().long().clamp_min(1) - 1  # 0.7 * 10 is more than 7 in binary
    difference_PG = groups.judged_rewards_PG - ascending_PG.gather(1, place_P1)
    counted_PG = groups.judged_PG & groups.varied_P1
    return torch.where(counted_PG, difference_PG, 0.0) / (deviation(groups) + eps)


def whitened(groups: Graded, *, group_baseline: bool = False, eps: float = 1e-8) -> torch.Tensor:
    """REINFORCE++'s (R_i - mean) / sqrt(var + eps), of all tokens of the batch (arXiv 2501.03262).

    With `group_baseline` of R_i - mean of its group, the paper's variant for several completions of a prompt.
    """
    values_PG = centred(groups) if group_baseline else groups.judged_rewards_PG
    weight_PG = _lengths(groups) * groups.judged_PG
    tokens = weight_PG.sum().clamp_min(1)
    difference_PG = values_PG - (values_PG * weight_PG).sum() / tokens
    variance = (difference_PG.square() * weight_PG).sum() / (tokens - 1).clamp_min(1)
    kept = values_PG[groups.judged_PG]
    varied = bool(len(kept)) and bool(kept.max() > kept.min())
    return difference_PG * torch.rsqrt(variance + eps) * groups.judged_PG * varied


def of_varied_groups(groups: Graded) -> torch.Tensor:
    """GPG's (R_i - mean) B / B', B' being the completions of groups whose rewards differ (arXiv 2504.02546)."""
    counted = (groups.judged_PG & groups.varied_P1).sum()
    return centred(groups) * groups.judged_PG.sum() / counted.clamp_min(1)


def of_rewarded(groups: Graded) -> torch.Tensor:
    """The same as verl has it, B' being the completions whose reward is not 0."""
    return centred(groups) * groups.judged_PG.sum() / (groups.judged_rewards_PG != 0).sum().clamp_min(1)


def length_punished(
    groups: Graded, *, advantage: Advantage, limit: int, buffer: float, factor: float = 1.0
) -> torch.Tensor:
    """Another advantage, of rewards with DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13).

    Args:
        groups: Graded groups.
        advantage: Of the punished rewards.
        limit: Tokens at which the punishment is largest.
        buffer: Tokens before the limit in which it grows, from 0.
        factor: Largest punishment.
    """
    punishment_PG = ((limit - buffer - _lengths(groups)) / buffer).clamp(-1.0, 0.0)
    return advantage(groups.with_rewards(groups.rewards_PG + factor * punishment_PG))


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


def _lengths(groups: Graded) -> torch.Tensor:
    assert groups.lengths_PG is not None, "nobody counted the tokens"
    return groups.lengths_PG.to(groups.rewards_PG)
