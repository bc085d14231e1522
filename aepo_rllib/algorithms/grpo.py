"""GRPO (Shao et al., arXiv 2402.03300).

    A_i = (R_i - mean_G) / (std_G + eps)
    J = E[ min(r_t A_i, clip(r_t, 1 - low, 1 + high) A_i) ],    r_t = pi(o_t) / pi_old(o_t)

Departures from the paper: the mean runs over all completion tokens of an optimizer step ("token-mean", as in the
authors' code of AEPO and in DAPO) unless `aggregation` says otherwise; the KL term to the run's starting weights is off
unless `kl_coefficient` is above 0 (the paper: 0.04). Every method below has it as an option.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.objectives.advantages import Advantage, group_normalised
from aepo_rllib.objectives.losses import KL_LOSSES, clipped
from aepo_rllib.objectives.parts import MAIN, Method, Selection, Stream, Term, TokenLoss
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.algorithm import TextRL
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.declared import setter

KL = "kl"


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

    kl_coefficient: float = option(
        0.0,
        "Weight of the KL divergence from the run's starting weights, in nats per token; 0 for none. It costs a "
        "forward pass of a second model (with LoRA, of the model without adapters) per batch.",
        least=0,
    )
    kl_estimator: str = option(
        "k3",
        "How it is estimated from sampled tokens: 'k1' log pi / pi_ref, 'k2' its square by 2, 'k3' Schulman's, 'abs'; "
        "'k1+' and 'k3+' with the gradient of k2 (verl), 'k3_corrected' times the ratio (TRL).",
        choices=tuple(KL_LOSSES),
    )
    IDLE = (Idle(("kl_estimator",), "set kl_coefficient as well", when="kl_coefficient", values=(0.0,)),)

    @override(TextRLConfig)
    @setter
    def training(
        self,
        *,
        clip_low: float = NotProvided,
        clip_high: float = NotProvided,
        dual_clip: float | None = NotProvided,
        kl_coefficient: float = NotProvided,
        kl_estimator: str = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration: these, and those of `TextRLConfig.training`."""
        return super().training(**kwargs)

    def advantage(self) -> Advantage:
        """The advantages of the main rows; variants that differ in it alone override this."""
        return group_normalised

    def surrogate(self) -> TokenLoss:
        """The loss of the main rows' tokens; likewise."""
        return partial(clipped, low=self.clip_low, high=self.clip_high, dual=self.dual_clip)

    def selection(self) -> Selection | None:
        """Which of the main rows' tokens; likewise."""
        return None

    def penalties(self) -> dict[str, Term]:
        """Further terms over the main rows: the divergence from the starting weights, where it has a weight."""
        if not self.kl_coefficient:
            return {}
        return {KL: Term(KL_LOSSES[self.kl_estimator], coefficient=self.kl_coefficient)}

    @override(TextRLConfig)
    def method(self) -> Method:
        """One stream, one term, and its penalties."""
        main = Term(self.surrogate(), select=self.selection())
        return Method({MAIN: Stream(self.advantage())}, {MAIN: main, **self.penalties()})

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks that the method has the terms that options speak of, besides what every algorithm checks."""
        super().validate()
        if self.kl_coefficient and KL not in self.method().terms:
            raise ValueError(
                f"kl_coefficient={self.kl_coefficient} does nothing: the method() of {type(self).__name__} has no term "
                f"{KL!r}; build it on super().method(), add **self.penalties() to its terms, or leave the option out"
            )


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
