"""Entropy-Adv (Cheng et al., arXiv 2506.14758): uncertain tokens weigh more in the advantage.

    A_t = A_i + min(alpha sg(H_t), |A_i| / kappa),    H_t = H(pi(.|o_<t)), exact

With kappa > 1 no advantage changes its sign, and one of 0 stays 0. The entropy is that of the policy that learns, at
every optimizer step, and carries no gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import entropy_shaped
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class EntropyAdvConfig(GRPOConfig):
    """`aepo train --algo entropy_adv`."""

    shaping_alpha: float = option(0.4, "Weight of the entropy in nats.", least=0)
    shaping_kappa: float = option(2.0, "The bonus is at most |A| / kappa.", least=1)

    @override(GRPOConfig)
    @setter
    def training(
        self, *, shaping_alpha: float = NotProvided, shaping_kappa: float = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """Clipped, with the shaped advantage."""
        return partial(
            entropy_shaped,
            alpha=self.shaping_alpha,
            kappa=self.shaping_kappa,
            low=self.clip_low,
            high=self.clip_high,
            dual=self.dual_clip,
        )
