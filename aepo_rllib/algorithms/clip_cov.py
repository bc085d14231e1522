"""Clip-Cov (Cui et al., arXiv 2505.22617): no gradient on a few tokens that lower the entropy most.

    cov_t = (A_t - mean A) (log pi(o_t) - mean log pi)
    GRPO without so many tokens, drawn at random among those with covariance_low < cov_t < covariance_high

Candidates are tokens that the clip leaves alone, and the clip is wide, [0, 2].

Departure: means and draws are those of an optimizer step over all learners, not of a micro-batch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.parts import Selection
from aepo_rllib.objectives.selections import without_covarying
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class ClipCovConfig(GRPOConfig):
    """`aepo train --algo clip_cov`."""

    clip_low, clip_high = 1.0, 1.0
    covarying_share: float = option(2e-4, "Share of all tokens that loses its gradient, at least one.", above=0, most=1)
    covariance_low: float = option(1.0, "Bounds of the covariance of a candidate, in nats.")
    covariance_high: float = option(5.0, "See `covariance_low`.")

    @override(GRPOConfig)
    @setter
    def training(
        self,
        *,
        covarying_share: float = NotProvided,
        covariance_low: float = NotProvided,
        covariance_high: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def selection(self) -> Selection:
        """All but the drawn ones."""
        return partial(
            without_covarying,
            share=self.covarying_share,
            covariance_low=self.covariance_low,
            covariance_high=self.covariance_high,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
        )

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks that there can be candidates."""
        super().validate()
        if not self.covariance_low < self.covariance_high:
            raise ValueError(
                f"covariance_low={self.covariance_low} must be below covariance_high={self.covariance_high}: no token "
                "lies between them"
            )
