"""GPG (Chu et al., arXiv 2504.02546): the plain policy gradient, without ratio, clip, KL or standard deviation.

    J = E[ A_i log pi(o_t) ],    A_i = (R_i - mean_G) B / B'

B' are the completions of the batch that count: those of groups whose rewards differ, so that flat groups do not make
the gradient smaller. `counted="rewarded"` takes those whose reward is not 0 instead, as verl does.

Departure: `updates_per_batch` is 1 here, because a plain gradient is right for the policy that sampled alone.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage, of_rewarded, of_varied_groups
from aepo_rllib.objectives.losses import reinforce
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter

COUNTED: dict[str, Advantage] = {"varied": of_varied_groups, "rewarded": of_rewarded}


class GPGConfig(GRPOConfig):
    """`aepo train --algo gpg`."""

    updates_per_batch = 1
    counted: str = option(
        "varied",
        "Which completions the gradient is scaled by: those of 'varied' groups (the paper), or all 'rewarded' ones "
        "(verl).",
        choices=tuple(COUNTED),
    )
    IDLE = (Idle(("clip_low", "clip_high", "dual_clip"), "leave it out: there is no ratio to clip"),)

    @override(GRPOConfig)
    @setter
    def training(self, *, counted: str = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Centred and scaled."""
        return COUNTED[self.counted]

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """REINFORCE."""
        return reinforce
