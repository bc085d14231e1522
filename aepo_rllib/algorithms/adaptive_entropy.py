"""Adaptive entropy coefficient (Skywork-OR1, arXiv 2505.22312): Entropy-Reg whose coefficient follows the entropy.

    c <- clip(c + step sign(H_target - H), 0, most)    after every batch; equality steps down
    J = J_GRPO + c 1[H < H_target] E[ H(pi(.|o_<t)) ]    with c and H of the batch before

H is the surprisal of the batch's completions under the policy that sampled, the bonus the exact entropy. It only
heats: above its target the coefficient falls to 0, and nothing cools.

Departure: none in the rule; TRL's counts equality as below, and reads the exact entropy (`entropy_source`).
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.algorithms.entropy_reg import EntropyRegConfig
from aepo_rllib.algorithms.grpo import GRPO
from aepo_rllib.control.coefficients import SteppedCoefficient
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter
from aepo_rllib.training.targeted import TargetedConfig


class AdaptiveEntropyConfig(TargetedConfig, EntropyRegConfig):
    """`aepo train --algo adaptive_entropy --set target_entropy=0.5x`."""

    target_entropy, entropy_source = 0.2, metrics.SAMPLED_SURPRISAL
    coefficient_step: float = option(1e-4, "What the coefficient moves by after every batch.", above=0)
    coefficient_most: float = option(5e-3, "Where it stops.", above=0)
    IDLE = (Idle(("entropy_coefficient",), "set coefficient_step and coefficient_most: it moves"),)

    @override(EntropyRegConfig)
    @setter
    def training(
        self,
        *,
        coefficient_step: float = NotProvided,
        coefficient_most: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration: these, and those of `EntropyRegConfig.training`."""
        return super().training(**kwargs)

    @override(EntropyRegConfig)
    def dial_loop(self) -> DialLoop:
        """The coefficient."""
        return DialLoop(SteppedCoefficient(self.coefficient_step, self.coefficient_most), setting="coefficient")


class AdaptiveEntropy(GRPO):
    """GRPO with a bonus whose coefficient moves."""

    Config = AdaptiveEntropyConfig
    config: AdaptiveEntropyConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """As GRPO's, with the coefficient that the batch before has left."""
        with self.step_frame():
            main = self.rollout(MAIN, self.next_problems())
            coefficient = self.turn_dial(main.entropy(self.config.measured_entropy()))
            self.learn({MAIN: main}, coefficients={"entropy": -coefficient})
            self.sync_weights()
