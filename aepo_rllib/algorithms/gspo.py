"""GSPO (Zheng et al., arXiv 2507.18071): one importance ratio a sequence.

    s_i = (pi(o_i) / pi_old(o_i))^(1 / |o_i|),    J = E[ min(s_i A_i, clip(s_i, 1 - low, 1 + high) A_i) ],    rows alike

Its clip is a thousand times narrower than PPO's, because s is a mean over tokens.
"""

from __future__ import annotations

from functools import partial

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import sequence_clipped
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import Idle


class GSPOConfig(GRPOConfig):
    """`aepo train --algo gspo`."""

    clip_low, clip_high, aggregation = 3e-4, 4e-4, "seq-mean-token-mean"
    IDLE = (Idle(("dual_clip",), "leave it out: sequences have no dual clip"),)

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """The clipped surrogate of sequences."""
        return partial(sequence_clipped, low=self.clip_low, high=self.clip_high)
