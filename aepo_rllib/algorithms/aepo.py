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

import math
from dataclasses import replace
from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.advantages import group_advantages
from aepo_rllib.algorithms.grpo import GRPO, MAIN_COMPONENT, GRPOConfig
from aepo_rllib.batching import RowGroups, rows_of
from aepo_rllib.entropy_control import CONTROLLERS, Target, TemperatureController, schedule_points, target_at
from aepo_rllib.groups import ENTROPY_SOURCES, Groups
from aepo_rllib.objectives import Component, clipped_surrogate, reinforce
from aepo_rllib.rollout import Stream, engine_class

TEMPERED_COMPONENT = 1
POSITIVE_ADVANTAGE = 0.05
"""The authors' threshold for a positive sample."""


class AEPOConfig(GRPOConfig):
    """Configuration of AEPO.

    .. testcode::

        config = AEPOConfig().language_model(model_path="embedded").entropy_control(target_entropy="0.5x")
        algo = config.build_algo()
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or AEPO)
        self.target_entropy: Target = "0.5x"
        self.controller = "switch"
        self.temperature_low, self.temperature_high = 0.8, 1.2
        self.entropy_source = metrics.EXACT_ENTROPY
        self.entropy_lag = 0
        self.alpha = 1.0
        self.tempered_share = 0.5
        self.positive_rule = "reward"
        self.composition = "add"
        self.replace_rows = 0
        self.tempered_surrogate = "reinforce"

    def entropy_control(
        self,
        *,
        target_entropy: Target = NotProvided,
        controller: str = NotProvided,
        temperature_low: float = NotProvided,
        temperature_high: float = NotProvided,
        entropy_source: str = NotProvided,
        entropy_lag: int = NotProvided,
        alpha: float = NotProvided,
        tempered_share: float = NotProvided,
        positive_rule: str = NotProvided,
        composition: str = NotProvided,
        replace_rows: int = NotProvided,
        tempered_surrogate: str = NotProvided,
    ) -> Self:
        """Sets the entropy dial.

        Args:
            target_entropy: Nats per token (0.43), a fraction of the base entropy ("0.5x"), or a schedule of either
                over training steps ([[0, "1.0x"], [100, "0.5x"]], linear in between).
            controller: "switch" (the paper's two levels) or "proportional" (its later version).
            temperature_low, temperature_high: T_low < 1 < T_high of the switch; bounds of the proportional rule.
            entropy_source: "exact_entropy" or "sampled_surprisal".
            entropy_lag: 0 reads this batch's entropy, 1 the previous batch's (the first step then has T = 1).
            alpha: Weight of the tempered term.
            tempered_share: Share of the batch's prompts that is sampled again at T.
            positive_rule: "reward" (weight R) or "advantage" (1 where the group advantage exceeds 0.05).
            composition: "add" (a term of its own) or "replace" (positives take the place of main rows, with
                advantage 1, as in the authors' code).
            replace_rows: Most main rows replaced per batch.
            tempered_surrogate: "reinforce", or "clipped" against the *untempered* old policy (its later version).

        Returns:
            This updated AlgorithmConfig object.
        """
        return self._set(**{name: value for name, value in locals().items() if name not in ("self", "__class__")})

    def temperature_controller(self) -> TemperatureController:
        """The configured controller."""
        return CONTROLLERS[self.controller](low=self.temperature_low, high=self.temperature_high)

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
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(map(str, choices))}"
                )
        schedule_points(self.target_entropy)
        if not 0 < self.temperature_low < self.temperature_high:
            raise ValueError(
                f"temperature_low={self.temperature_low} must be above 0 and below "
                f"temperature_high={self.temperature_high}: the dial needs one side that cools and one that heats"
            )
        if not 0 < self.tempered_share <= 1:
            raise ValueError(f"tempered_share={self.tempered_share} must be above 0 and at most 1")
        if self.alpha < 0:
            raise ValueError(f"alpha={self.alpha} must not be negative")
        if (self.composition == "replace") != (self.replace_rows > 0):
            raise ValueError(
                f"composition={self.composition!r} and replace_rows={self.replace_rows} clash: rows are replaced by "
                "composition='replace' with replace_rows above 0, and by nothing else"
            )
        if self.entropy_source == metrics.EXACT_ENTROPY and not engine_class(self.engine).exact_entropy:
            raise ValueError(
                f"entropy_source={self.entropy_source!r} needs logits, which engine={self.engine!r} does not give; "
                f"use {metrics.SAMPLED_SURPRISAL!r}"
            )
        super().validate()


_CHOICES: dict[str, tuple[Any, ...]] = {
    "controller": tuple(CONTROLLERS),
    "entropy_source": ENTROPY_SOURCES,
    "entropy_lag": (0, 1),
    "positive_rule": ("reward", "advantage"),
    "composition": ("add", "replace"),
    "tempered_surrogate": ("reinforce", "clipped"),
}


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
        self.previous_entropy: float | None = None

    @override(Algorithm)
    def training_step(self) -> None:
        """The paper's box: sample, measure entropy, choose T, sample tempered, update, sync."""
        with self.step_frame():
            problems = self.next_problems()
            main = self.rollout(Stream.MAIN, problems)
            temperature = self.choose_temperature(main.entropy(self.config.entropy_source))
            share = problems[: math.ceil(self.config.tempered_share * len(problems))]
            tempered = self.rollout(Stream.TEMPERED, share, temperature=temperature)
            self.learn(self.compose(self.main_rows(main), self.tempered_rows(tempered)))
            self.sync_weights()

    def choose_temperature(self, entropy: float) -> float:
        """T of the tempered stream, from the entropy of this batch (or the previous one, with a lag)."""
        target = target_at(self.config.target_entropy, self.train_steps, self.measure_base_entropy())
        read = self.previous_entropy if self.config.entropy_lag else entropy
        self.previous_entropy = entropy
        temperature = 1.0 if read is None else self.config.temperature_controller().temperature(read, target)
        self.log(
            metrics.CONTROL,
            {
                metrics.ENTROPY: entropy if read is None else read,
                metrics.TARGET_ENTROPY: target,
                metrics.TEMPERATURE: temperature,
            },
        )
        return temperature

    def tempered_rows(self, tempered: Groups) -> RowGroups:
        """Rows of the tempered term: the positives carry weight R (or 1), all the others only count."""
        if self.config.positive_rule == "reward":
            weights_PG = tempered.rewards_PG
        else:
            advantages_PG = group_advantages(tempered.rewards_PG, tempered.usable_PG)
            weights_PG = (advantages_PG > POSITIVE_ADVANTAGE).float()
        positives = int(((weights_PG > 0) & tempered.usable_PG).sum())
        self.log(metrics.TEMPERED, tempered.figures() | {metrics.POSITIVES: positives})
        return rows_of(tempered, weights_PG, TEMPERED_COMPONENT)

    def compose(self, main: RowGroups, tempered: RowGroups) -> list[RowGroups]:
        """The two streams side by side, or the positives in place of the first main rows."""
        if self.config.composition == "add":
            return [main, tempered]
        positives = (row for group in tempered for row in group if row.advantage > 0)
        limit = self.config.replace_rows
        chosen = [
            replace(row, component=MAIN_COMPONENT, advantage=1.0)
            for row, _ in zip(positives, range(limit), strict=False)
        ]
        taken = iter(chosen)
        return [[[next(taken, row) for row in group] for group in main]]

    @override(GRPO)
    def own_state(self) -> dict[str, Any]:
        """With the entropy that a lagged controller reads next."""
        return {**super().own_state(), "previous_entropy": self.previous_entropy}

    @override(GRPO)
    def set_own_state(self, state: dict[str, Any]) -> None:
        """Undo `own_state`."""
        super().set_own_state(state)
        self.previous_entropy = state["previous_entropy"]
