"""SAPO (Gao et al., arXiv 2511.20347): a soft gate in the place of the clip.

    J = E[ (4 / tau) sigmoid(tau (r_t - 1)) A_i ],    tau = tau_positive if A_i > 0 else tau_negative,    rows alike

The slope in r is 1 at r = 1 and fades smoothly on both sides, faster for negative advantages.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import soft_gated
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class SAPOConfig(GRPOConfig):
    """`aepo train --algo sapo`."""

    aggregation = "seq-mean-token-mean"
    tau_positive: float = option(1.0, "How fast the gate closes where the advantage is above 0.", above=0)
    tau_negative: float = option(1.05, "And elsewhere.", above=0)
    IDLE = (Idle(("clip_low", "clip_high", "dual_clip"), "set tau_positive and tau_negative: a gate is no clip"),)

    @override(GRPOConfig)
    @setter
    def training(self, *, tau_positive: float = NotProvided, tau_negative: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """The soft gate."""
        return partial(soft_gated, positive=self.tau_positive, negative=self.tau_negative)
