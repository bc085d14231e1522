"""Dr. GRPO (Liu et al., arXiv 2503.20783): GRPO without its two biases.

    A_i = R_i - mean_G,    a sum over tokens, divided by rows x `max_new_tokens`

Departure: the paper has no KL term either; its divisor is the generation budget, as here.
"""

from __future__ import annotations

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage, centred


class DrGRPOConfig(GRPOConfig):
    """`aepo train --algo dr_grpo`."""

    aggregation = "seq-mean-token-sum-norm"

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Centred rewards."""
        return centred
