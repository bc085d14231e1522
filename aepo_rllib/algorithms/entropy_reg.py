"""Entropy-Reg: GRPO with the policy's entropy as a bonus, exact and with its gradient.

    J = J_GRPO + coefficient E[ H(pi(.|o_<t)) ],    over all tokens of the batch, those of flat groups included

The rival of AEPO's Figure 3: a small coefficient lets the entropy collapse, a larger one makes it explode.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import entropy
from aepo_rllib.objectives.parts import Method, Term
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class EntropyRegConfig(GRPOConfig):
    """`aepo train --algo entropy_reg --set entropy_coefficient=0.01`."""

    entropy_coefficient: float = option(0.01, "Weight of the mean entropy in nats per token.", least=0)

    @override(GRPOConfig)
    @setter
    def training(self, *, entropy_coefficient: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def method(self) -> Method:
        """GRPO's term and the bonus, over the same rows and in one forward pass."""
        plain = super().method()
        return replace(plain, terms={**plain.terms, "entropy": Term(entropy, coefficient=-self.entropy_coefficient)})
