"""E3-RL4LLMs (Liao et al., the temperature scheduler of their code): what is trained is the tempered policy itself.

    T <- T (1 + T ln(H_target / H) / (ln V + ln ln V)),    V tokens in the vocabulary, T = 1 at first
    J = E_{o ~ pi_old^T}[ min(r A_i, clip(r, 1 - low, 1 + high) A_i) ],    r_t = pi^T(o_t) / pi_old^T(o_t)

All completions are drawn at T, and both sides of the ratio are taken there: for the learner a temperature is a scale
of its logits. So T does not pull the entropy of pi as AEPO's tempered term does: it makes up for what pi loses, and H,
the entropy of pi^T, is kept. H is that of the batch before. At T = 1, as in an evaluation, pi goes on sharpening.

The target is the entropy of the starting weights; the authors' annealing, by a cosine to 0.9 of it over the last 40 %
of a run, is a schedule here, linear between its points: `[[0, 1.0x], [288, 1.0x], [480, 0.9x]]`. T has no bounds, as
theirs has none.

Departures: H is the surprisal of the completions under pi_old^T (authors: its exact entropy, in the update); the
starting entropy is measured by itself (authors: in the first update, which does not turn T); the authors' other part,
more rollouts for problems that need them, is not here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.columns import Columns
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.control.geometric import GeometricTemperature
from aepo_rllib.control.targets import Target
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import rows_of
from aepo_rllib.models.hf import vocabulary_size
from aepo_rllib.objectives.losses import tempered_clipped
from aepo_rllib.objectives.parts import MAIN, Method, TokenLoss
from aepo_rllib.support.options import Idle
from aepo_rllib.training.declared import setter
from aepo_rllib.training.targeted import TargetedConfig


class E3Config(GRPOConfig):
    """`aepo train --algo e3`."""

    target_entropy: Target = replace(TargetedConfig.declared()["target_entropy"], default="1.0x")  # type: ignore[assignment]
    IDLE = (Idle(("importance_cap",), "leave it out: both sides of the ratio are the learner's"),)

    @override(GRPOConfig)
    @setter
    def training(self, *, target_entropy: Target = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """The clipped one, of the tempered policy."""
        return partial(tempered_clipped, low=self.clip_low, high=self.clip_high, dual=self.dual_clip)

    @override(GRPOConfig)
    def method(self) -> Method:
        """GRPO's, whose completions are tempered."""
        plain = super().method()
        return replace(plain, streams={MAIN: replace(plain.streams[MAIN], tempered=True)})

    @override(GRPOConfig)
    def dial_loop(self) -> DialLoop:
        """The temperature, by the batch before."""
        return DialLoop(GeometricTemperature(vocabulary_size(self.model_path)), lag=1)


class E3(GRPO):
    """GRPO of the tempered policy."""

    Config = E3Config
    config: E3Config

    @override(Algorithm)
    def training_step(self) -> None:
        """As GRPO's, all of it at the temperature that the batch before asks for."""
        with self.step_frame():
            temperature = self.turn_dial(lambda: entropy)
            main = self.rollout(MAIN, self.next_problems(), temperature=temperature)
            entropy = self.tempered_entropy(main, temperature)
            self.learn({MAIN: main}, temperature=temperature)
            self.sync_weights()

    def tempered_entropy(self, main: Groups, temperature: float) -> float:
        """H of pi^T, from log-probs of the law that was sampled; by the learner where the engine hides them."""
        if (told := main.mean(Columns.BEHAVIOR_LOGP)) is not None:
            return -told
        rows = [row for group in rows_of(main, main.rewards_PG, 0) for row in group]
        scored = self.score(rows, [Columns.HEATED_LOGP], temperature=temperature)
        return -float(np.concatenate([figures[Columns.HEATED_LOGP] for figures in scored]).mean(dtype=np.float64))
