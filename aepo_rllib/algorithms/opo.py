"""OPO (Hao et al., arXiv 2505.23585): exact on-policy learning with the baseline of least variance.

    A_i = R_i - sum_j |o_j| R_j / sum_j |o_j|

The weights are the optimal ones where the squared norm of a completion's score grows with its length. There is one
optimizer step a batch (`updates_per_batch=1`), and so no ratio to clip; with more, GRPO's clip applies.
"""

from __future__ import annotations

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage, length_weighted


class OPOConfig(GRPOConfig):
    """`aepo train --algo opo`."""

    updates_per_batch = 1

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Less the baseline weighted by length."""
        return length_weighted
