"""SIREN (Jiang et al., arXiv 2509.25133): the entropy of uncertain tokens is held where the run found it.

    L = L_GRPO + coefficient (Hbar - H_1)^2
    Hbar = mean over rows of the mean of H^core over the row's most uncertain tokens (the largest `uncertain_share`)
    H^core = entropy of pi within its likeliest tokens of probability at most 0.8, one at least
    H_1 = Hbar of the first batch

Tokens that nobody would say count nothing, and tokens that are sure count nothing, so that a bonus does not spread
probability over the vocabulary.

Departures: Hbar is measured once a batch, by a forward pass of the learner before its first optimizer step, so that the
gradient, 2 coefficient (Hbar - H_1) grad Hbar, is the same for every split over learners (authors: once a micro-batch).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.columns import Columns
from aepo_rllib.experience.rows import RowGroups
from aepo_rllib.objectives.losses import core_entropy
from aepo_rllib.objectives.parts import MAIN, Term
from aepo_rllib.objectives.selections import most_uncertain_of_each
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter

ANCHORED = "anchored"


class SIRENConfig(GRPOConfig):
    """`aepo train --algo siren`."""

    clip_low, clip_high = 0.28, 0.28
    anchor_coefficient: float = option(5e-3, "Weight of the squared distance from the anchor.", above=0)
    uncertain_share: float = option(0.2, "Share of a completion's tokens that count as uncertain.", above=0, most=1)

    @override(GRPOConfig)
    @setter
    def training(
        self, *, anchor_coefficient: float = NotProvided, uncertain_share: float = NotProvided, **kwargs: Any
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def penalties(self) -> dict[str, Term]:
        """With the entropy, whose coefficient is the slope of the squared distance."""
        select = partial(most_uncertain_of_each, share=self.uncertain_share)
        anchored = Term(core_entropy, "main", self.anchor_coefficient, select, aggregation="seq-mean-token-mean")
        return {ANCHORED: anchored, **super().penalties()}


class SIREN(GRPO):
    """GRPO with an anchor.

    Attributes:
        anchor: Hbar of the first batch, in nats.
    """

    Config = SIRENConfig
    config: SIRENConfig
    STATE = (*GRPO.STATE, "anchor")
    anchor: float | None = None

    @override(Algorithm)
    def training_step(self) -> None:
        """As GRPO's, pulled towards the first batch's entropy."""
        with self.step_frame():
            rows = self.rows({MAIN: self.rollout(MAIN, self.next_problems())})
            slope = self.slope(self.uncertainty(rows[MAIN])) if any(rows[MAIN]) else 0.0
            self.learn_rows(rows, coefficients={ANCHORED: slope})
            self.sync_weights()

    def slope(self, level: float) -> float:
        """That of the squared distance of Hbar from the anchor, which the first is."""
        self.anchor = level if self.anchor is None else self.anchor
        slope = 2 * self.config.anchor_coefficient * (level - self.anchor)
        figures = {metrics.ENTROPY: level, metrics.TARGET_ENTROPY: self.anchor, metrics.COEFFICIENT: slope}
        self.log(metrics.CONTROL, figures)
        return slope

    def uncertainty(self, groups: RowGroups) -> float:
        """Hbar of a batch with judged completions, by the learner."""
        scored = self.score([row for group in groups for row in group], [Columns.CORE_ENTROPY])
        entropies = [figures[Columns.CORE_ENTROPY] for figures in scored]
        edges = [np.quantile(entropy_T, 1 - self.config.uncertain_share) for entropy_T in entropies]
        means = [entropy_T[entropy_T >= edge].mean() for entropy_T, edge in zip(entropies, edges, strict=True)]
        return float(np.mean(means, dtype=np.float64))
