"""AEPO: Arbitrary Entropy Policy Optimization (arXiv 2510.08141, the algorithm of versions 1-6).

    grad J_AEPO = grad J_GRPO + alpha E_{q, o ~ pi_old^T}[ R(q, o) grad log pi(o|q) ]
    T = T_high if H(pi_old) < H_target else T_low

Departures, each an option: the tempered stream covers a share of the batch's prompts (authors' code: the first
quarter); the entropy is the exact entropy of the batch at hand (authors: surprisal of the previous update).
docs/method.md lists all of them; the authors' own code is `aepo_authors`.

Tempered rows carry no importance ratio: correcting for the temperature makes the expected gradient independent of
it, and the hold on the entropy is gone (Corollary F there).
"""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPO, GRPOConfig
from aepo_rllib.control.dial_loop import DialLoop
from aepo_rllib.control.dials import Dial
from aepo_rllib.control.targets import Target
from aepo_rllib.control.temperature_dials import TEMPERATURE_DIALS
from aepo_rllib.objectives.advantages import Advantage, positive_reward
from aepo_rllib.objectives.losses import reinforce
from aepo_rllib.objectives.parts import MAIN, Method, Stream, Term, TokenLoss
from aepo_rllib.support.arguments import check_arguments
from aepo_rllib.support.options import option
from aepo_rllib.support.plugins import DIALS_GROUP, absolute, find
from aepo_rllib.training.declared import setter
from aepo_rllib.training.targeted import TargetedConfig

TEMPERED = "tempered"


class AEPOConfig(TargetedConfig, GRPOConfig):
    """Configuration of AEPO.

    .. testcode::

        config = AEPOConfig().language_model(model_path="embedded").entropy_control(target_entropy="0.5x")
        algo = config.build_algo()
    """

    controller: str = option(
        "switch",
        "What turns the temperature: 'switch' (the paper's two levels), 'proportional' (its later version), 'steady' "
        "(with a model of what it turns; `--algo aepo_steady` has the bounds for it), or a dial of your own, see "
        "docs/extending/dial.md.",
    )
    controller_options: dict[str, Any] = option({}, "The controller's own options.")
    temperature_low: float = option(0.8, "T_low < 1 < T_high: where the controller's temperatures lie.", above=0)
    temperature_high: float = option(1.2, "See `temperature_low`.", above=0)
    entropy_window: int = option(1, "The controller reads the mean of this many batches' entropies.", least=1)
    alpha: float = option(1.0, "Weight of the tempered term.", least=0)
    tempered_share: float = option(
        0.5, "Share of the batch's prompts that is sampled again at the controller's temperature.", above=0, most=1
    )

    @override(TargetedConfig)
    @setter
    def entropy_control(
        self,
        *,
        target_entropy: Target = NotProvided,
        controller: str = NotProvided,
        controller_options: dict[str, Any] = NotProvided,
        temperature_low: float = NotProvided,
        temperature_high: float = NotProvided,
        entropy_source: str | None = NotProvided,
        entropy_window: int = NotProvided,
    ) -> Self:
        """Sets the entropy dial: its target, its temperatures, and which entropy it reads."""
        return self

    @setter
    def tempered_term(self, *, alpha: float = NotProvided, tempered_share: float = NotProvided) -> Self:
        """Sets what is sampled at the controller's temperature, and how much it weighs."""
        return self

    def tempered_advantage(self) -> Advantage:
        """What a tempered completion weighs; variants that differ in it alone override this."""
        return positive_reward

    def tempered_loss(self) -> TokenLoss:
        """The loss of its tokens; likewise."""
        return reinforce

    @override(GRPOConfig)
    def method(self) -> Method:
        """GRPO's stream and term, and the tempered ones."""
        plain = super().method()
        tempered = Stream(self.tempered_advantage(), share=self.tempered_share, tempered=True)
        term = Term(self.tempered_loss(), stream=TEMPERED, coefficient=self.alpha)
        return replace(plain, streams={**plain.streams, TEMPERED: tempered}, terms={**plain.terms, TEMPERED: term})

    def dial(self) -> Dial:
        """The controller, built from its options."""
        cls = find("controller", self.controller, TEMPERATURE_DIALS, DIALS_GROUP, kind="class")
        own = self.controller_options
        check_arguments("controller_options key", own, cls.__init__, reserved=("temperature_low", "temperature_high"))
        known = {"inertia": self.adam_betas[0] ** self.updates_per_batch, "delay": self.async_steps}
        told = {name: value for name, value in known.items() if name in inspect.signature(cls).parameters}
        return cls(temperature_low=self.temperature_low, temperature_high=self.temperature_high, **told | own)

    @override(GRPOConfig)
    def dial_loop(self) -> DialLoop:
        """The controller with what it reads."""
        return DialLoop(self.dial(), window=self.entropy_window)

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks the dial besides what its base checks."""
        super().validate()
        self.controller = absolute(self.controller)  # Ray's processes work in other folders
        if not self.temperature_low < self.temperature_high:
            raise ValueError(
                f"temperature_low={self.temperature_low} must be below "
                f"temperature_high={self.temperature_high}: the dial needs one side that cools and one that heats"
            )
        self.dial()
        self._validate_tempered()

    def _validate_tempered(self) -> None:
        tempered = math.ceil(self.tempered_share * self.batch_size)
        if tempered < self.updates_per_batch:
            raise ValueError(
                f"tempered_share={self.tempered_share} of batch_size={self.batch_size} is {tempered} prompts, fewer "
                f"than updates_per_batch={self.updates_per_batch}: some optimizer steps would have no tempered "
                "term; raise tempered_share or batch_size"
            )


class AEPO(GRPO):
    """GRPO plus a positive-only REINFORCE term on tempered samples: entropy becomes a dial."""

    Config = AEPOConfig
    config: AEPOConfig

    @override(Algorithm)
    def training_step(self) -> None:
        """The paper's box: sample, measure entropy, choose T, sample tempered, update, sync."""
        with self.step_frame():
            problems = self.next_problems()
            main = self.ask(MAIN, problems)
            temperature = self.turn_dial(lambda: main.groups.entropy(self.config.measured_entropy()))
            tempered = self.ask(TEMPERED, self.share_of(problems, TEMPERED), temperature=temperature)
            self.learn({MAIN: main.groups, TEMPERED: tempered.groups}, coefficients=self.strengthened())
            self.sync_weights()

    def strengthened(self) -> dict[str, float]:
        """The tempered term's coefficient, where the dial turns it, too."""
        assert self.dial_loop is not None
        strength = self.dial_loop.strength
        return {} if strength == 1 else {TEMPERED: self.config.alpha * strength}
