"""Ablation of AEPO: tempered completions corrected for their temperature, R pi(o) / pi^T(o).

The expected gradient no longer depends on T, and the hold on the entropy is gone (Corollary F in docs/method.md). It
needs an engine that tells the log-probs of the law it samples from.
"""

from __future__ import annotations

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.objectives.advantages import Advantage, importance_corrected


class AEPOCorrectedConfig(AEPOConfig):
    """`aepo train --algo aepo_corrected`."""

    @override(AEPOConfig)
    def tempered_advantage(self) -> Advantage:
        """R pi / pi^T."""
        return importance_corrected
