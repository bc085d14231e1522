"""DAPO (Yu et al., arXiv 2503.14476): GRPO that clips higher, learns from mixed groups alone, and punishes length.

    J = E[ min(r_t A_i, clip(r_t, 1 - low, 1 + high) A_i) ],    low < high, a mean over all tokens
    0 < number of correct completions < G for every group: others are left out, and more problems are asked
    R_i + factor min(max((L - buffer - |o_i|) / buffer, -1), 0) in the place of R_i,    L = `max_new_tokens`

Departures: where `sampling_rounds` give fewer mixed groups than a batch has, the batch is smaller (authors: an
error), and where they give none, nothing is learned. The authors' rewards are -1 and 1 and their punishment at most
1; with 0 and 1 it is 0.5, the same share of the span. The dual clip of 10 is their recipe's, not their paper's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.experience.groups import Groups
from aepo_rllib.objectives.advantages import Advantage, group_normalised, length_punished
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class DAPOConfig(GRPOConfig):
    """`aepo train --algo dapo`."""

    clip_high, dual_clip = 0.28, 10.0
    sampling_rounds: int = option(
        10, "Most batches of problems that are asked until there is one of mixed groups; 1 asks once.", least=1
    )
    overlong_buffer: float = option(
        0.2, "Share of `max_new_tokens`, at its end, in which the punishment of length grows.", above=0, most=1
    )
    overlong_punishment: float = option(0.5, "What it grows to; 0 for none.", least=0)
    IDLE = (Idle(("overlong_buffer",), "set overlong_punishment as well", when="overlong_punishment", values=(0.0,)),)

    @override(GRPOConfig)
    @setter
    def training(
        self,
        *,
        sampling_rounds: int = NotProvided,
        overlong_buffer: float = NotProvided,
        overlong_punishment: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """GRPO's, of rewards with the punishment."""
        return self.punished(group_normalised)

    def punished(self, advantage: Advantage) -> Advantage:
        """An advantage of rewards with the punishment."""
        limit, factor = self.max_new_tokens, self.overlong_punishment
        buffer = self.overlong_buffer * limit
        return partial(length_punished, advantage=advantage, limit=limit, buffer=buffer, factor=factor)


class DAPO(GRPO):
    """GRPO on a batch of mixed groups."""

    Config = DAPOConfig
    config: DAPOConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """Sample until there are enough groups that teach something, then as GRPO."""
        with self.step_frame():
            mixed = self.mixed_groups()
            self.learn_rows(self.rows({MAIN: mixed}) if len(mixed) else {MAIN: []})
            self.sync_weights()

    def mixed_groups(self) -> Groups:
        """As many groups as the batch has, none with equal rewards; fewer where the rounds give no more."""
        mixed, rounds = Groups([]), 0
        while len(mixed) < self.config.batch_size and rounds < self.config.sampling_rounds:
            drawn = self.rollout(MAIN, self.next_problems(rounds))
            mixed, rounds = mixed + drawn.where(drawn.graded().varied_P1[:, 0]), rounds + 1
        self.log(metrics.THROUGHPUT, {metrics.SAMPLING_ROUNDS: rounds})
        return mixed[: self.config.batch_size]
