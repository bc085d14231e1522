"""AEPO: Arbitrary Entropy Policy Optimization (arXiv 2510.08141, the algorithm of versions 1-6).

    grad J_AEPO = grad J_GRPO + alpha E_{q, o ~ pi_old^T}[ R(q, o) grad log pi(o|q) ]
    T = T_high if H(pi_old) < H_target else T_low

Departures, each an option: the tempered stream covers a share of the batch's prompts (authors' code: the first
quarter); the entropy is the exact entropy of the batch at hand (authors: surprisal of the previous update); the
tempered term is added with weight alpha (authors: its rows replace main rows). docs/method.md lists all of them.

Tempered rows carry no importance ratio: correcting for the temperature makes the expected gradient independent of
it, and the hold on the entropy is gone (Corollary F there).
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.algorithms.grpo import GRPO, MAIN_COMPONENT, GRPOConfig
from aepo_rllib.control.dials import (
    ConstantTemperature,
    ProportionalTemperature,
    Target,
    TemperatureController,
    TemperatureSwitch,
    schedule_points,
    target_at,
)
from aepo_rllib.control.monitor import ControlMonitor, ControlStep
from aepo_rllib.experience.dealing import RowGroups, replace_first_rows, rows_of
from aepo_rllib.experience.groups import Groups
from aepo_rllib.objectives.losses import Component, clipped_surrogate, reinforce
from aepo_rllib.objectives.tempered_weights import WEIGHT_RULES
from aepo_rllib.rollout import Stream, engine_class
from aepo_rllib.training.options import FLAG, NOT_NEGATIVE, POSITIVE, Idle, Option, choice, count

TEMPERED_COMPONENT = 1

logger = logging.getLogger(__name__)


class AEPOConfig(GRPOConfig):
    """Configuration of AEPO.

    .. testcode::

        config = AEPOConfig().language_model(model_path="embedded").entropy_control(target_entropy="0.5x")
        algo = config.build_algo()
    """

    OPTIONS: ClassVar[dict[str, Option]] = {
        "controller": choice("switch", "proportional", "constant"),
        "temperature_low": POSITIVE,
        "temperature_high": POSITIVE,
        "heat_at_target": FLAG,
        "temperature": POSITIVE,
        "entropy_source": choice(
            metrics.EXACT_ENTROPY, metrics.SAMPLED_SURPRISAL, metrics.UPDATE_SURPRISAL, optional=True
        ),
        "entropy_window": count(),
        "entropy_lag": Option(int, least=0, most=1),
        "initial_entropy": Option(float, least=0, optional=True),
        "alpha": NOT_NEGATIVE,
        "tempered_share": Option(float, above=0, most=1),
        "positive_rule": choice(*WEIGHT_RULES),
        "composition": choice("add", "replace"),
        "replace_rows": count(0),
        "halve_when_cold": FLAG,
        "tempered_surrogate": choice("reinforce", "clipped"),
    }
    IDLE: ClassVar[tuple[Idle, ...]] = (
        Idle(("temperature",), "controller", ("switch", "proportional"), "choose controller='constant'"),
        Idle(
            ("target_entropy", "temperature_low", "temperature_high", "heat_at_target", "initial_entropy"),
            "controller",
            ("constant",),
            "leave it out: nothing is controlled",
        ),
        Idle(("heat_at_target",), "controller", ("proportional",), "choose controller='switch'"),
        Idle(("alpha",), "composition", ("replace",), "replaced rows are main rows; choose composition='add'"),
        Idle(("halve_when_cold",), "composition", ("add",), "choose composition='replace'"),
        Idle(
            ("entropy_lag",),
            "entropy_source",
            (metrics.UPDATE_SURPRISAL,),
            "that is the previous batch's already; leave it out",
        ),
    )

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or AEPO)
        self.target_entropy: Target = "0.5x"
        self.controller = "switch"
        self.temperature_low, self.temperature_high = 0.8, 1.2
        self.heat_at_target = False
        self.temperature = 1.0
        self.entropy_source: str | None = None
        self.entropy_window = 1
        self.entropy_lag = 0
        self.initial_entropy: float | None = None
        self.alpha = 1.0
        self.tempered_share = 0.5
        self.positive_rule = "reward"
        self.composition = "add"
        self.replace_rows = 0
        self.halve_when_cold = False
        self.tempered_surrogate = "reinforce"

    def entropy_control(
        self,
        *,
        target_entropy: Target = NotProvided,
        controller: str = NotProvided,
        temperature_low: float = NotProvided,
        temperature_high: float = NotProvided,
        heat_at_target: bool = NotProvided,
        temperature: float = NotProvided,
        entropy_source: str | None = NotProvided,
        entropy_window: int = NotProvided,
        entropy_lag: int = NotProvided,
        initial_entropy: float | None = NotProvided,
    ) -> Self:
        """Sets the entropy dial: its target, its temperatures, and which entropy it reads.

        Args:
            target_entropy: Nats per token (0.43), a fraction of the base entropy ("0.5x"), or a schedule of either
                over training steps ([[0, "1.0x"], [100, "0.5x"]], linear in between).
            controller: "switch" (the paper's two levels), "proportional" (its later version) or "constant" (no
                control: always `temperature`).
            temperature_low, temperature_high: T_low < 1 < T_high of the switch; bounds of the proportional rule.
            heat_at_target: Whether the switch heats when entropy equals its target (the authors' code does).
            temperature: Of the tempered stream, for controller="constant".
            entropy_source: "exact_entropy" or "sampled_surprisal" of this batch's T = 1 completions, or
                "update_surprisal", that of the previous batch while it was learned from (the authors' code). None is
                the exact entropy, and the sampled surprisal where the engine sees no logits.
            entropy_window: The controller reads the mean of this many batches' entropies.
            entropy_lag: 0 reads up to this batch's entropy, 1 up to the previous batch's.
            initial_entropy: What is read where no batch has been measured yet; None for a first step at T = 1.

        Returns:
            This updated AlgorithmConfig object.
        """
        return self._set(locals())

    def tempered_term(
        self,
        *,
        alpha: float = NotProvided,
        tempered_share: float = NotProvided,
        positive_rule: str = NotProvided,
        composition: str = NotProvided,
        replace_rows: int = NotProvided,
        halve_when_cold: bool = NotProvided,
        tempered_surrogate: str = NotProvided,
    ) -> Self:
        """Sets what is sampled at the controller's temperature, and how it enters the loss.

        Args:
            alpha: Weight of the tempered term.
            tempered_share: Share of the batch's prompts that is sampled again at T.
            positive_rule: Weight of a tempered completion: "reward" (R where above 0), or "advantage" (1 where the
                group advantage exceeds 0.05). For ablations "signed" (+1 and -1) and "corrected" (R pi / pi^T), see
                `aepo_rllib.objectives.tempered_weights`.
            composition: "add" (a term of its own) or "replace" (positives take the place of main rows, with
                advantage 1, as in the authors' code).
            replace_rows: Most main rows replaced per batch.
            halve_when_cold: Replace half as many rows when T is below 1 (the authors' code does).
            tempered_surrogate: "reinforce", or "clipped" against the *untempered* old policy (its later version).

        Returns:
            This updated AlgorithmConfig object.
        """
        return self._set(locals())

    def temperature_controller(self) -> TemperatureController:
        """The configured controller."""
        low, high = self.temperature_low, self.temperature_high
        controllers: dict[str, TemperatureController] = {
            "switch": TemperatureSwitch(low, high, self.heat_at_target),
            "proportional": ProportionalTemperature(low, high),
            "constant": ConstantTemperature(self.temperature),
        }
        return controllers[self.controller]

    @override(GRPOConfig)
    def loss_components(self) -> dict[str, Component]:
        """GRPO's term and the tempered one."""
        surrogate = reinforce
        if self.tempered_surrogate == "clipped":
            surrogate = partial(clipped_surrogate, low=self.clip_low, high=self.clip_high)
        return {**super().loss_components(), "tempered": Component(surrogate, self.alpha)}

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks the dial besides what GRPO checks."""
        super().validate()
        schedule_points(self.target_entropy)
        if not self.temperature_low < self.temperature_high:
            raise ValueError(
                f"temperature_low={self.temperature_low} must be below "
                f"temperature_high={self.temperature_high}: the dial needs one side that cools and one that heats"
            )
        self._validate_composition()
        self._validate_entropy_source()

    def _validate_composition(self) -> None:
        if (self.composition == "replace") != (self.replace_rows > 0):
            raise ValueError(
                f"composition={self.composition!r} and replace_rows={self.replace_rows} clash: rows are replaced by "
                "composition='replace' with replace_rows above 0, and by nothing else"
            )
        if self.composition == "replace":
            if self.positive_rule not in ("reward", "advantage") or self.tempered_surrogate != "reinforce":
                raise ValueError(
                    f"composition='replace' clashes with positive_rule={self.positive_rule!r} and tempered_surrogate="
                    f"{self.tempered_surrogate!r}: replaced rows are main rows of advantage 1; use composition='add'"
                )
            return
        tempered = self.tempered_prompts()
        if tempered < self.updates_per_batch:
            raise ValueError(
                f"tempered_share={self.tempered_share} of batch_size={self.batch_size} is {tempered} prompts, fewer "
                f"than updates_per_batch={self.updates_per_batch}: some optimizer steps would have no tempered "
                "term; raise tempered_share or batch_size"
            )

    def tempered_prompts(self) -> int:
        """How many of a batch's prompts are sampled again."""
        return math.ceil(self.tempered_share * self.batch_size)

    def measured_entropy(self) -> str:
        """The entropy source in effect: without a choice the better one that the engine gives."""
        return self.entropy_source or self.engine_entropy()

    def _validate_entropy_source(self) -> None:
        lagging = self.entropy_lag > 0 or self.entropy_source == metrics.UPDATE_SURPRISAL
        if self.initial_entropy != type(self)().initial_entropy and not lagging:
            raise ValueError(
                f"initial_entropy={self.initial_entropy!r} does nothing with entropy_lag={self.entropy_lag!r}: every "
                "batch is measured before its entropy is read; leave it out"
            )
        if self.entropy_source is None:
            return
        if self.entropy_source == metrics.EXACT_ENTROPY and not engine_class(self.engine).exact_entropy:
            raise ValueError(
                f"entropy_source={self.entropy_source!r} needs logits, which engine={self.engine!r} does not give; "
                f"use {metrics.SAMPLED_SURPRISAL!r}"
            )
        if self.entropy_source == metrics.UPDATE_SURPRISAL and self.skip_flat_rows:
            raise ValueError(
                f"entropy_source={self.entropy_source!r} and skip_flat_rows={self.skip_flat_rows} clash: it is a mean "
                "over all rows of an update; set skip_flat_rows=False"
            )


class AEPO(GRPO):
    """GRPO plus a positive-only REINFORCE term on tempered samples: entropy becomes a dial."""

    config: AEPOConfig

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> AEPOConfig:
        """`AEPOConfig()`."""
        return AEPOConfig()

    @override(Algorithm)
    def setup(self, config: AEPOConfig) -> None:
        """Build runners and learners."""
        super().setup(config)
        self.entropies: list[float] = []
        """Of the latest batches, newest last, as many as the controller reads; up to the last finished step."""
        self.monitor = ControlMonitor(*config.temperature_controller().bounds)

    @override(Algorithm)
    def training_step(self) -> None:
        """The paper's box: sample, measure entropy, choose T, sample tempered, update, sync."""
        with self.step_frame():
            problems = self.next_problems()
            main = self.rollout(Stream.MAIN, problems)
            temperature = self.choose_temperature(main)
            again = problems[: self.config.tempered_prompts()]
            tempered = self.rollout(Stream.TEMPERED, again, temperature=temperature)
            self.learn(self.compose(self.main_rows(main), self.tempered_rows(tempered), temperature))
            self.sync_weights()
            self.watch_dial()

    def choose_temperature(self, main: Groups) -> float:
        """T of the tempered stream: where the policy's entropy stands against its target."""
        target = target_at(self.config.target_entropy, self.train_steps, self.measure_base_entropy())
        entropy = self.read_entropy(main)
        temperature = 1.0
        figures = {metrics.TARGET_ENTROPY: target}
        if entropy is not None:
            temperature = self.config.temperature_controller().temperature(entropy, target)
            figures[metrics.ENTROPY] = entropy
        self.log(metrics.CONTROL, figures | {metrics.TEMPERATURE: temperature})
        return temperature

    def read_entropy(self, main: Groups) -> float | None:
        """What the controller is shown: the mean entropy of the latest batches in nats per token, None before any."""
        config = self.config
        lagging = config.entropy_source == metrics.UPDATE_SURPRISAL
        measured = self.update_surprisal if lagging else main.entropy(config.measured_entropy())
        latest = self.entropies if measured is None else [*self.entropies, measured]
        self.latest_entropies = latest[-config.entropy_window - config.entropy_lag :]
        shown = self.latest_entropies[: len(self.latest_entropies) - config.entropy_lag][-config.entropy_window :]
        return sum(shown) / len(shown) if shown else config.initial_entropy

    def tempered_rows(self, tempered: Groups) -> RowGroups:
        """Rows of the tempered term: the positives carry weight R (or 1), all the others only count."""
        rule = WEIGHT_RULES[self.config.positive_rule]
        weights_PG = rule(tempered.rewards_PG, tempered.usable_PG, tempered.log_importance_PG)
        positives = int(((weights_PG > 0) & tempered.usable_PG).sum())
        self.log(metrics.TEMPERED, tempered.figures() | {metrics.POSITIVES: positives})
        return rows_of(tempered, weights_PG, TEMPERED_COMPONENT, tempered=True)

    def compose(self, main: RowGroups, tempered: RowGroups, temperature: float) -> list[RowGroups]:
        """The two streams side by side, or the positives in place of the first main rows."""
        if self.config.composition == "add":
            return [main, tempered]
        positives = [
            replace(row, component=MAIN_COMPONENT, advantage=1.0)
            for group in tempered
            for row in group
            if row.advantage > 0
        ][: self.config.replace_rows]
        if self.config.halve_when_cold and temperature < 1:
            positives = positives[: len(positives) // 2]
        return [replace_first_rows(main, positives)]

    def watch_dial(self) -> None:
        """Keep what this step has shown, log how the dial stands, and warn when it turns without effect."""
        self.entropies = self.latest_entropies
        entropy, target, temperature, positives = (
            self.metrics.peek(key, default=math.nan)
            for key in (
                (metrics.CONTROL, metrics.ENTROPY),
                (metrics.CONTROL, metrics.TARGET_ENTROPY),
                (metrics.CONTROL, metrics.TEMPERATURE),
                (metrics.TEMPERED, metrics.POSITIVES),
            )
        )
        if not math.isnan(entropy):  # a lagged controller's first step
            for complaint in self.monitor.observe(ControlStep(entropy, target, temperature, positives)):
                logger.warning("step %d: %s", self.train_steps + 1, complaint)
        self.log(
            metrics.CONTROL,
            {metrics.HOT_SHARE: self.monitor.hot_share, metrics.STUCK: float(self.monitor.stuck)},
        )

    @override(GRPO)
    def own_state(self) -> dict[str, Any]:
        """With what the controller has read and its monitor has seen."""
        return {**super().own_state(), "entropies": self.entropies, "monitor": self.monitor.get_state()}

    @override(GRPO)
    def set_own_state(self, state: dict[str, Any]) -> None:
        """Undo `own_state`."""
        super().set_own_state(state)
        self.entropies = state["entropies"]
        self.monitor.set_state(state["monitor"])
