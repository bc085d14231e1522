"""CISPO (MiniMax-M1, arXiv 2506.13585): REINFORCE with clipped importance weights; no token loses its gradient.

    J = E[ sg(clip(r_t, floor, cap)) A_i log pi(o_t) ],    r_t = pi(o_t) / pi_old(o_t)

Departures: the bounds are numbers of their own, as in TRL; verl's `clip_ratio_low` and `clip_ratio_high` are 1 -
floor and cap - 1. The paper has no floor and does not tell its cap; 5 is that of ScaleRL.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import weighted_reinforce
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class CISPOConfig(GRPOConfig):
    """`aepo train --algo cispo --set weight_cap=5`."""

    weight_floor: float = option(0.0, "Least importance weight of a token.", least=0, most=1)
    weight_cap: float = option(5.0, "Largest importance weight of a token.", least=1)
    IDLE = (Idle(("clip_low", "clip_high", "dual_clip"), "set weight_cap: weights are clipped, not the objective"),)

    @override(GRPOConfig)
    @setter
    def training(self, *, weight_floor: float = NotProvided, weight_cap: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """Weighted REINFORCE."""
        return partial(weighted_reinforce, floor=self.weight_floor, cap=self.weight_cap)
