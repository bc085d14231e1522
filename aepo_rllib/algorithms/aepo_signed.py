"""Ablation of AEPO: tempered completions of both signs, +1 for correct and -1 for wrong.

Hot negatives undo what hot positives do (Corollary E in docs/method.md).
"""

from __future__ import annotations

from ray.rllib.utils.annotations import override

from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.objectives.advantages import Advantage, signed


class AEPOSignedConfig(AEPOConfig):
    """`aepo train --algo aepo_signed`."""

    @override(AEPOConfig)
    def tempered_advantage(self) -> Advantage:
        """+1 and -1."""
        return signed
