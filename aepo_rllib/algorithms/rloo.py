"""RLOO (Ahmadian et al., arXiv 2402.14740): the baseline of a completion is the mean of the others of its group.

    A_i = R_i - mean_{j != i} R_j,    a sum over tokens

Departures: the sum is divided by `max_new_tokens`, which AdamW hardly sees; over several optimizer steps of a batch the
ratio is clipped per token (TRL: per sequence). With one step it is the paper's REINFORCE.
"""

from __future__ import annotations

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage, leave_one_out


class RLOOConfig(GRPOConfig):
    """`aepo train --algo rloo`."""

    aggregation = "seq-mean-token-sum-norm"

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Leave-one-out."""
        return leave_one_out
