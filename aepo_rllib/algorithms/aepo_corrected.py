"""Ablation of AEPO: tempered completions corrected for their temperature, R pi(o) / pi^T(o).

The expected gradient no longer depends on T, and the hold on the entropy is gone (Corollary F in docs/method.md). It
needs an engine that tells the log-probs of the law it samples from.
"""

from __future__ import annotations

from dataclasses import replace

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.aepo import TEMPERED, AEPOConfig
from aepo_rllib.objectives.advantages import importance_corrected
from aepo_rllib.objectives.parts import Method


class AEPOCorrectedConfig(AEPOConfig):
    """`aepo train --algo aepo_corrected`."""

    @override(AEPOConfig)
    def method(self) -> Method:
        """AEPO with another weight of tempered completions."""
        both = super().method()
        tempered = replace(both.streams[TEMPERED], advantage=importance_corrected)
        return replace(both, streams={**both.streams, TEMPERED: tempered})
