"""KL-Cov (Cui et al., arXiv 2505.22617): a penalty on moving the few tokens that lower the entropy most.

    J = E[ r_t A_i - coefficient |log r_t| 1[t among the largest share of cov] ]
    cov_t = (A_t - mean A) (log pi(o_t) - mean log pi)

There is no clip. The share is a fraction: the authors' `k_percent` of 0.2 is 0.002.

Departures: means and the largest are those of an optimizer step over all learners, not of a micro-batch; |log r| below
1e-4 counts 0, so that rounding errors of weights that have not moved give no gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.losses import distance, unclipped
from aepo_rllib.objectives.parts import Term, TokenLoss
from aepo_rllib.objectives.selections import most_covarying
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class KLCovConfig(GRPOConfig):
    """`aepo train --algo kl_cov`."""

    covarying_share: float = option(2e-3, "Share of all tokens that is penalised, at least one.", above=0, most=1)
    penalty_coefficient: float = option(1.0, "Weight of |log r| on them.", least=0)
    IDLE = (Idle(("clip_low", "clip_high", "dual_clip"), "leave it out: there is no clip"),)

    @override(GRPOConfig)
    @setter
    def training(
        self, *, covarying_share: float = NotProvided, penalty_coefficient: float = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """The ratio as it is."""
        return unclipped

    @override(GRPOConfig)
    def penalties(self) -> dict[str, Term]:
        """With that on the covarying tokens."""
        select = partial(most_covarying, share=self.covarying_share)
        penalty = Term(distance, coefficient=self.penalty_coefficient, select=select)
        return {"penalty": penalty, **super().penalties()}
