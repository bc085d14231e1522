"""Ablation of AEPO: tempered completions of both signs, +1 for correct and -1 for wrong.

Hot negatives undo what hot positives do (Corollary E in docs/method.md).
"""

from __future__ import annotations

from dataclasses import replace

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.aepo import TEMPERED, AEPOConfig
from aepo_rllib.objectives.advantages import signed
from aepo_rllib.objectives.parts import Method


class AEPOSignedConfig(AEPOConfig):
    """`aepo train --algo aepo_signed`."""

    @override(AEPOConfig)
    def method(self) -> Method:
        """AEPO with another weight of tempered completions."""
        both = super().method()
        tempered = replace(both.streams[TEMPERED], advantage=signed)
        return replace(both, streams={**both.streams, TEMPERED: tempered})
