"""What a tempered completion weighs in the REINFORCE term: pure functions from (P, G) to (P, G).

The paper's rule is `reward`. The authors' code has `positive_advantage`. The last two are ablations, here to show
what the method lives on: `signed` keeps the wrong completions, `importance_corrected` takes the temperature back out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from aepo_rllib.objectives.advantages import group_advantages

POSITIVE_ADVANTAGE = 0.05
"""The authors' threshold for a positive sample."""

WeightRule = Callable[[torch.Tensor, torch.Tensor, "torch.Tensor | None"], torch.Tensor]
"""(rewards_PG, usable_PG, log_importance_PG) -> weights_PG.

`log_importance_PG` is log pi(o) - log pi^T(o) of the whole completion, None where an engine does not tell it.
"""


def reward(
    rewards_PG: torch.Tensor, usable_PG: torch.Tensor, log_importance_PG: torch.Tensor | None = None
) -> torch.Tensor:
    """max(R(q, o), 0): positives alone. In the paper R is 0 or 1; a reward in between weighs as much as it is."""
    return rewards_PG.clamp_min(0.0)


def positive_advantage(
    rewards_PG: torch.Tensor, usable_PG: torch.Tensor, log_importance_PG: torch.Tensor | None = None
) -> torch.Tensor:
    """1 where the advantage within the tempered group exceeds 0.05; a group that is all correct has none."""
    return (group_advantages(rewards_PG, usable_PG) > POSITIVE_ADVANTAGE).to(rewards_PG.dtype)


def signed(
    rewards_PG: torch.Tensor, usable_PG: torch.Tensor, log_importance_PG: torch.Tensor | None = None
) -> torch.Tensor:
    """+1 for correct, -1 for wrong: hot negatives undo what hot positives do (Corollary E)."""
    return torch.where(rewards_PG > 0, 1.0, -1.0).to(rewards_PG.dtype)


def importance_corrected(
    rewards_PG: torch.Tensor, usable_PG: torch.Tensor, log_importance_PG: torch.Tensor | None = None
) -> torch.Tensor:
    """max(R, 0) pi(o) / pi^T(o): the expected gradient no longer depends on T (Corollary F).

    Raises:
        ValueError: the engine does not tell the log-probs of the law it sampled from.
    """
    if log_importance_PG is None:
        raise ValueError("positive_rule='corrected' needs log-probs under the tempered law, which this engine hides")
    return rewards_PG.clamp_min(0.0) * log_importance_PG.exp().to(rewards_PG.dtype)


WEIGHT_RULES: dict[str, WeightRule] = {
    "reward": reward,
    "advantage": positive_advantage,
    "signed": signed,
    "corrected": importance_corrected,
}
