"""EntroPIC (Yang et al., arXiv 2511.15248): proportional-integral control by a term over the surest tokens.

    J = J_GRPO - c E_{pi(o_t) > 0.95}[ r_t |A_i| ],    r_t = pi(o_t) / pi_old(o_t), not clipped
    c = clip(K_p e + K_i (sum of the errors before), -1, 1),    e = H_target - H

Of the tokens that the policy is nearly sure of, those of correct completions are raised less with c above 0, and those
of wrong ones lowered more: below the target it flattens, above it sharpens. (The paper's alpha is -c, its e has the
other sign.) The authors' script has K_p = 1, K_i = 0.01 and a target of 0.1 nats. Their sum of errors grows on while c
is at its bound, and so does this one.

Departures from the authors' code: c is found once a batch, from the exact entropy of its completions under the policy
that sampled (theirs: in every micro-batch, from its own, while the weights move); the mean over sure tokens is taken
over an optimizer step and not a micro-batch, so that any split has one gradient, and is a mean over tokens whatever
`aggregation` says; no dual clip unless `dual_clip` is set (theirs: 3); T = 1 (their script samples at 0.6, and takes
all log-probs and the entropy there).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.control.integral import ProportionalIntegral
from aepo_rllib.objectives.losses import magnified
from aepo_rllib.objectives.parts import MAIN, Term
from aepo_rllib.objectives.selections import surest
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter
from aepo_rllib.training.targeted import TargetedConfig

SURE = "sure"


class EntroPICConfig(TargetedConfig, GRPOConfig):
    """`aepo train --algo entropic --set target_entropy=0.5x`."""

    target_entropy = 0.1
    proportional_gain: float = option(1.0, "K_p: coefficient per nat that the entropy is off.", least=0)
    integral_gain: float = option(0.01, "K_i: coefficient per nat and step that it has been off.", least=0)
    sure_probability: float = option(0.95, "Tokens count that the policy gives more than this.", above=0, below=1)

    @override(GRPOConfig)
    @setter
    def training(
        self,
        *,
        proportional_gain: float = NotProvided,
        integral_gain: float = NotProvided,
        sure_probability: float = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration: these, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def penalties(self) -> dict[str, Term]:
        """With the term, whose coefficient the dial turns: at most 1, as here."""
        select = partial(surest, probability=self.sure_probability)
        return {SURE: Term(magnified, select=select, aggregation="token-mean"), **super().penalties()}

    @override(GRPOConfig)
    def dial_loop(self) -> DialLoop:
        """The coefficient."""
        return DialLoop(ProportionalIntegral(self.proportional_gain, self.integral_gain), setting="coefficient")


class EntroPIC(GRPO):
    """GRPO with a controlled term."""

    Config = EntroPICConfig
    config: EntroPICConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """As GRPO's, with the coefficient that this batch's entropy asks for."""
        with self.step_frame():
            main = self.rollout(MAIN, self.next_problems())
            coefficient = self.turn_dial(main.entropy(self.config.measured_entropy()))
            self.learn({MAIN: main}, coefficients={SURE: coefficient})
            self.sync_weights()
