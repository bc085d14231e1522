"""Entrocraft (Li et al., arXiv 2604.26326): completions of one sign are rejected while the entropy is outside a band.

    H < H_target - width / 2:  those with A_i > 0 are rejected, what is left flattens
    H > H_target + width / 2:  those with A_i < 0 are rejected, what is left sharpens
    J = J_GRPO of the others; rejected completions stay in the mean, with advantage 0

The band moves with the target, which may be a schedule. The paper's best is a band of (0.6, 0.7) nats that falls
linearly to (0.1, 0.2) over the run: `target_entropy=[[0, 0.65], [STEPS, 0.15]]`.

Departures: the paper's rule is here, GRPO's advantages by sign; the authors' code puts raw rewards in their place
outside the band (1 for correct completions alone, or -1 for wrong ones alone, in groups without any difference, too).
The target is a constant by default, because a config does not know how many steps there will be. That rejected
completions count in the mean is the code's; whether the paper's do could not be read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.control.band import Band
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.experience.rows import RowGroups
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter
from aepo_rllib.training.targeted import TargetedConfig


class EntrocraftConfig(TargetedConfig, GRPOConfig):
    """`aepo train --algo entrocraft --set target_entropy=0.5x`."""

    target_entropy = 0.65
    band_width: float = option(0.1, "Nats per token around the target in which nothing is rejected.", least=0)

    @override(GRPOConfig)
    @setter
    def training(
        self,
        *,
        band_width: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def dial_loop(self) -> DialLoop:
        """Which completions are rejected."""
        return DialLoop(Band(self.band_width), setting=metrics.REJECTED_SIGN)


class Entrocraft(GRPO):
    """GRPO on completions of one sign, or of both."""

    Config = EntrocraftConfig
    config: EntrocraftConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """As GRPO's, without the completions that would take the entropy further from its band."""
        with self.step_frame():
            main = self.rollout(MAIN, self.next_problems())
            rejected = self.turn_dial(main.entropy(self.config.measured_entropy()))
            rows = self.rows({MAIN: main})
            self.learn_rows({MAIN: without(rows[MAIN], rejected)})
            self.sync_weights()


def without(groups: RowGroups, sign: float) -> RowGroups:
    """The rows, those whose advantage has this sign with advantage 0; all as they are for 0."""
    return [[replace(row, advantage=0.0) if row.advantage * sign > 0 else row for row in group] for group in groups]
