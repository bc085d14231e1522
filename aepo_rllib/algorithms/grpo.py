"""GRPO (Shao et al., arXiv 2402.03300).

    A_i = (R_i - mean_G) / (std_G + eps)
    J = E[ min(r_t A_i, clip(r_t, 1 - low, 1 + high) A_i) ],    r_t = pi(o_t) / pi_old(o_t)

Departures from the paper: the mean runs over all completion tokens of an optimizer step ("token-mean", as in the
authors' code of AEPO and in DAPO) unless `aggregation` says otherwise; there is no KL term to a reference model.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.objectives.advantages import Advantage, group_normalised
from aepo_rllib.objectives.losses import clipped
from aepo_rllib.objectives.parts import MAIN, Method, Stream, Term, TokenLoss
from aepo_rllib.support.options import option
from aepo_rllib.training.algorithm import TextRL
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.declared import setter


class GRPOConfig(TextRLConfig):
    """Configuration of GRPO.

    .. testcode::

        config = GRPOConfig().language_model(model_path="embedded").training(batch_size=16, group_size=8)
        algo = config.build_algo()
    """

    clip_low: float = option(0.2, "The ratio is clipped to [1 - low, 1 + high].", above=0)
    clip_high: float = option(0.2, "See `clip_low`.", above=0)
    dual_clip: float | None = option(
        None, "Bound c on the loss of negative advantages, -c A; None for none.", kind=float, above=1
    )

    @override(TextRLConfig)
    @setter
    def training(
        self,
        *,
        clip_low: float = NotProvided,
        clip_high: float = NotProvided,
        dual_clip: float | None = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration: these, and those of `TextRLConfig.training`."""
        return super().training(**kwargs)

    def surrogate(self) -> TokenLoss:
        """The loss of the main rows' tokens; variants that differ in it alone override this."""
        return partial(clipped, low=self.clip_low, high=self.clip_high, dual=self.dual_clip)

    def advantage(self) -> Advantage:
        """The advantages of the main rows; likewise."""
        return group_normalised

    @override(TextRLConfig)
    def method(self) -> Method:
        """One stream, one term."""
        return Method({MAIN: Stream(self.advantage())}, {MAIN: Term(self.surrogate())})


class GRPO(TextRL):
    """Group relative policy optimization, and every method that samples and learns as it does."""

    Config = GRPOConfig
    config: GRPOConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """Sample groups, normalise rewards within them, take the optimizer steps, send the weights back."""
        with self.step_frame():
            main = self.rollout(MAIN, self.next_problems())
            self.learn({MAIN: main})
            self.sync_weights()
