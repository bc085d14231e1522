"""MaxRL (Tajwar et al., arXiv 2602.02710): towards the likelihood of success, whose gradient is that of log p.

    A_i = (R_i - mean_G) / mean_G

With rewards 0 and 1 the gradient is the mean score of the successes, less a control variate: a problem that is solved
once in G weighs as much as one that is always solved in the maximum-likelihood gradient. Groups without success have
advantage 0.

Departure: over several optimizer steps of a batch the ratio is clipped, as in GRPO. With one it is the paper's
REINFORCE.
"""

from __future__ import annotations

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage, mean_normalised


class MaxRLConfig(GRPOConfig):
    """`aepo train --algo maxrl`."""

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Centred rewards by their mean."""
        return mean_normalised
