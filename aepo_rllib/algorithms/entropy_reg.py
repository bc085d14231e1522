"""Entropy-Reg: GRPO with the policy's entropy as a bonus, exact and with its gradient.

    J = J_GRPO + coefficient E[ H(pi(.|o_<t)) ],    over all tokens of the batch, those of flat groups included

The rival of AEPO's Figure 3: a small coefficient lets the entropy collapse, a larger one makes it explode.

`entropy_estimator="sampled"` puts the mean of -log pi(o_t) in the place of H, as `use_entropy_loss` of the authors'
code does. It is there to reproduce that, and is noise, no bonus: while the tokens are the policy's own, the expected
gradient of log pi is 0, and what is left beyond is a drift with the number of tokens.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import ENTROPY_LOSSES
from aepo_rllib.objectives.parts import Term
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class EntropyRegConfig(GRPOConfig):
    """`aepo train --algo entropy_reg --set entropy_coefficient=0.01`."""

    entropy_coefficient: float = option(0.01, "Weight of the mean entropy in nats per token.", least=0)
    entropy_estimator: str = option(
        "exact",
        "'exact', from the whole law of a token, or 'sampled', its surprisal: noise in place of a bonus.",
        choices=tuple(ENTROPY_LOSSES),
    )

    @override(GRPOConfig)
    @setter
    def training(
        self, *, entropy_coefficient: float = NotProvided, entropy_estimator: str = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def penalties(self) -> dict[str, Term]:
        """With the bonus, over the same rows and in one forward pass."""
        bonus = Term(ENTROPY_LOSSES[self.entropy_estimator], coefficient=-self.entropy_coefficient)
        return {"entropy": bonus, **super().penalties()}
