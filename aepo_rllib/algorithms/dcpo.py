"""DCPO (arXiv 2601.12730, of AEPO's authors): the tempered term as a weight on the completions that are there anyway.

    A_t = (1 - a) A_i + a 1[R_i > 0] pi_old^T(o_t) / pi_old(o_t),    a = m / (1 + m)
    m = min(|H_target - H|, largest_gap) / (share of completions with R > 0)
    T = T_high if H <= H_target else T_low

Nothing is sampled again: the ratio of the tempered law to the policy stands for a tempered draw. (Dynamic Clipping
Policy Optimization has the same letters, and nothing to do with it.)

Departures: H is the exact entropy of the batch at hand (authors: the surprisal of the previous update); a batch
without a correct completion is a plain GRPO step (authors: a division by zero).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.algorithms.aepo import AEPO, AEPOConfig
from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.columns import Columns
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import Row, RowGroups, rows_of
from aepo_rllib.objectives.parts import MAIN, Method
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class DCPOConfig(AEPOConfig):
    """`aepo train --algo dcpo --set target_entropy=0.25`."""

    target_entropy, controller = 0.25, "heating_switch"
    largest_gap: float = option(0.1, "Most that the distance from the target counts, in nats per token.", above=0)
    IDLE = (Idle(("alpha", "tempered_share"), "leave it out: no stream is tempered"),)

    @override(AEPOConfig)
    @setter
    def entropy_control(self, *, largest_gap: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the entropy dial: this, and those of `AEPOConfig.entropy_control`."""
        return super().entropy_control(**kwargs)

    @override(AEPOConfig)
    def method(self) -> Method:
        """GRPO's: the advantages are made from the batch."""
        return GRPOConfig.method(self)

    @override(AEPOConfig)
    def _validate_tempered(self) -> None:
        """No stream is tempered."""


class DCPO(AEPO):
    """GRPO whose positives are weighted by a tempered law."""

    Config = DCPOConfig
    config: DCPOConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """Sample, measure entropy, choose T, weigh the positives, update, sync."""
        with self.step_frame():
            main = self.rollout(MAIN, self.next_problems())
            temperature = self.turn_dial(main.entropy(self.config.measured_entropy()))
            self.learn_rows({MAIN: self.weighed(main, temperature)})
            self.sync_weights()

    def weighed(self, main: Groups, temperature: float) -> RowGroups:
        """The rows with DCPO's advantages, one a token."""
        share = self.positive_share(main)
        self.log(metrics.CONTROL, {metrics.POSITIVE_SHARE: share})
        rows = self.rows({MAIN: main})[MAIN]
        correct = rows_of(main, main.rewards_PG > 0, 0)  # the same rows in the same places
        log_ratios = iter(
            self.tempered_ratios([row for group in correct for row in group if row.advantage], temperature)
        )
        return [
            [
                replace(row, advantage=composed(row, next(log_ratios) if mark.advantage else -np.inf, share))
                for row, mark in zip(group, marks, strict=True)
            ]
            for group, marks in zip(rows, correct, strict=True)
        ]

    def tempered_ratios(self, rows: list[Row], temperature: float) -> list[np.ndarray]:
        """log pi_old^T - log pi_old of the rows' tokens, by the learner."""
        if not rows:
            return []
        scored = self.score(rows, [Columns.HEATED_LOGP], temperature=temperature)
        return [figures[Columns.HEATED_LOGP] - figures[Columns.POLICY_LOGP] for figures in scored]

    def positive_share(self, main: Groups) -> float:
        """a, by the entropy that the dial was shown; 0 without a correct completion."""
        assert self.dial_loop is not None
        last, positive_N = self.dial_loop.last, (main.rewards_PG > 0)[main.usable_PG]
        correct = int(positive_N.sum()) / max(len(positive_N), 1)
        if not correct or last is None or last.entropy is None:
            return 0.0
        m = min(abs(last.target - last.entropy), self.config.largest_gap) / correct
        return m / (1 + m)


def composed(row: Row, log_ratio_T: np.ndarray | float, share: float) -> np.ndarray:
    """(1 - a) A + a pi^T / pi for every token of a row; log pi^T / pi is -inf where the completion is not correct."""
    weights_T = share * np.exp(np.broadcast_to(log_ratio_T, len(row.completion_ids)))
    return ((1 - share) * row.advantage + weights_T).astype(np.float32)
