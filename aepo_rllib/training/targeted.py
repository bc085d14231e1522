"""What methods that steer an entropy to a target have in common: the target, and which entropy is read."""

from __future__ import annotations

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.control.targets import Target, schedule_points
from aepo_rllib.rollout import engine_class
from aepo_rllib.support.options import option
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.declared import setter


class TargetedConfig(TextRLConfig):
    """Mixed into a method's configuration, in front of it: its target of entropy. The method says what is turned."""

    target_entropy: Target = option(
        "0.75x",
        "Nats per token (0.43), a fraction of the base entropy ('0.5x'), or a schedule of either over training steps "
        "([[0, '1.0x'], [100, '0.5x']], linear in between).",
        parse=schedule_points,
        grammar="a number above 0, 'Nx', or a list of [step, either]",
    )
    entropy_source: str | None = option(
        None,
        "Which entropy of this batch's T = 1 completions is read. None is the exact entropy, and the sampled surprisal "
        "where the engine sees no logits. 'content_surprisal' is that of numbers and operators alone, in nats per "
        "completion, and so is its target then.",
        kind=str,
        choices=(metrics.EXACT_ENTROPY, metrics.SAMPLED_SURPRISAL, metrics.CONTENT_SURPRISAL),
    )

    @setter
    def entropy_control(
        self, *, target_entropy: Target = NotProvided, entropy_source: str | None = NotProvided
    ) -> Self:
        """Sets the target, and which entropy is held to it."""
        return self

    @override(TextRLConfig)
    def measured_entropy(self) -> str:
        """The entropy source in effect: without a choice the better one that the engine gives."""
        return self.entropy_source or self.engine_entropy()

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks that the engine gives the entropy that is read, besides what its base checks."""
        super().validate()
        if self.entropy_source == metrics.EXACT_ENTROPY and not engine_class(self.engine).exact_entropy:
            raise ValueError(
                f"entropy_source={self.entropy_source!r} needs logits, which engine={self.engine!r} does not give; "
                f"use {metrics.SAMPLED_SURPRISAL!r}"
            )
