"""SCOPE-RL: the later version of AEPO (arXiv 2510.08141v7), with a proportional temperature and a clipped surrogate.

T = clip(1 + H_target - H, T_low, T_high)
J = J_GRPO + alpha E_{o ~ pi_old^T}[ min(r R, clip(r, 1 - low, 1 + high) R) ],    r = pi / pi_old, untempered
"""

from __future__ import annotations

from functools import partial

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.objectives.losses import clipped
from aepo_rllib.objectives.parts import TokenLoss


class ScopeRLConfig(AEPOConfig):
    """`aepo train --algo scope_rl`. Its alpha is 1/64 for 7 B parameters; the default here is AEPO's."""

    controller = "proportional"

    @override(AEPOConfig)
    def tempered_loss(self) -> TokenLoss:
        """With a ratio, against the policy that sampled, not against its tempered law."""
        return partial(clipped, low=self.clip_low, high=self.clip_high)
