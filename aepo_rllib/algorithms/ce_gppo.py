"""CE-GPPO (Su et al., arXiv 2509.20712): tokens beyond the clip keep a gradient of bounded size.

    J = E[ c_t A_i ],    c_t = beta_low (1 - low) r_t / sg(r_t)     if r_t < 1 - low and A_i < 0
                               beta_high (1 + high) r_t / sg(r_t)   if r_t > 1 + high and A_i > 0
                               r_t                                  elsewhere

Both betas 0 are the clip without the part of it that has no gradient. The paper's 7 B model has beta_low = 0.75, its
1.5 B model 0.5.

Departure: no negative log-likelihood of correct completions beside it, which the authors' script adds with weight 0.1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import gradient_preserving
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class CEGPPOConfig(GRPOConfig):
    """`aepo train --algo ce_gppo`."""

    beta_low: float = option(0.75, "Size of the gradient beyond the lower clip.", least=0)
    beta_high: float = option(1.0, "And beyond the upper one.", least=0)
    IDLE = (Idle(("dual_clip",), "leave it out: a gradient that is kept has no dual clip"),)

    @override(GRPOConfig)
    @setter
    def training(self, *, beta_low: float = NotProvided, beta_high: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """With gradients that are kept."""
        return partial(
            gradient_preserving,
            low=self.clip_low,
            high=self.clip_high,
            beta_low=self.beta_low,
            beta_high=self.beta_high,
        )
