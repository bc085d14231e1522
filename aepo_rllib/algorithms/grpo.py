"""GRPO (Shao et al., arXiv 2402.03300).

    A_i = (R_i - mean_G) / (std_G + eps)
    J = E[ min(r_t A_i, clip(r_t, 1 - low, 1 + high) A_i) ],    r_t = pi(o_t) / pi_old(o_t)

Departures from the paper: the mean runs over all completion tokens of an optimizer step ("token-mean", as in the
authors' code of AEPO and in DAPO) unless `aggregation` says otherwise; there is no KL term to a reference model.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib import metrics
from aepo_rllib.experience.dealing import RowGroups, rows_of
from aepo_rllib.experience.groups import Groups
from aepo_rllib.objectives.advantages import group_advantages
from aepo_rllib.objectives.losses import Component, clipped_surrogate
from aepo_rllib.rollout import Stream
from aepo_rllib.training.algorithm import TextRL
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.options import FLAG, Option

MAIN_COMPONENT = 0


class GRPOConfig(TextRLConfig):
    """Configuration of GRPO.

    .. testcode::

        config = GRPOConfig().language_model(model_path="embedded").training(batch_size=16, group_size=8)
        algo = config.build_algo()
    """

    OPTIONS: ClassVar[dict[str, Option]] = {
        "clip_low": Option(float, above=0),
        "clip_high": Option(float, above=0),
        "dual_clip": Option(float, above=1, optional=True),
        "scale_by_std": FLAG,
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or GRPO)
        self.clip_low, self.clip_high = 0.2, 0.2
        self.dual_clip: float | None = None
        self.scale_by_std = True

    @override(TextRLConfig)
    def training(
        self,
        *,
        clip_low: float = NotProvided,
        clip_high: float = NotProvided,
        dual_clip: float | None = NotProvided,
        scale_by_std: bool = NotProvided,
        **kwargs: Any,
    ) -> Self:
        """Sets the training related configuration.

        Args:
            clip_low, clip_high: The ratio is clipped to [1 - low, 1 + high].
            dual_clip: Bound c on the loss of negative advantages, -c A; None for none.
            scale_by_std: Divide advantages by the group's standard deviation (False: Dr. GRPO).
            kwargs: Those of `TextRLConfig.training`.

        Returns:
            This updated AlgorithmConfig object.
        """
        super().training(**kwargs)
        return self._set(locals())

    @override(TextRLConfig)
    def loss_components(self) -> dict[str, Component]:
        """The clipped surrogate over the main rows."""
        surrogate = partial(clipped_surrogate, low=self.clip_low, high=self.clip_high, dual_clip=self.dual_clip)
        return {"main": Component(surrogate)}


class GRPO(TextRL):
    """Group relative policy optimization."""

    config: GRPOConfig

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> GRPOConfig:
        """`GRPOConfig()`."""
        return GRPOConfig()

    @override(Algorithm)
    def training_step(self) -> None:
        """Sample groups, normalise rewards within them, take the optimizer steps, send the weights back."""
        with self.step_frame():
            main = self.rollout(Stream.MAIN, self.next_problems())
            self.learn([self.main_rows(main)])
            self.sync_weights()

    def main_rows(self, main: Groups) -> RowGroups:
        """Rows of the GRPO term."""
        advantages_PG = group_advantages(main.rewards_PG, main.usable_PG, scale_by_std=self.config.scale_by_std)
        flat = (advantages_PG == 0).all(dim=1).float().mean().item()
        self.log(metrics.MAIN, main.figures() | {metrics.FLAT_GROUP_SHARE: flat})
        self.log(metrics.CONTROL, {metrics.BASE_ENTROPY: self.measure_base_entropy()})
        return rows_of(main, advantages_PG, MAIN_COMPONENT)
