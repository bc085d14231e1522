"""QAE (Wu et al., arXiv 2509.22611): DAPO with a quantile of the group's rewards as baseline.

    A_i = (R_i - b) / (std_G + eps),    b = the smallest reward that at least a share K of the group does not exceed

With rewards 0 and 1: where at most 1 - K of the group are correct, these alone have an advantage, and elsewhere the
wrong ones alone. So both the explosion and the collapse of the entropy are bounded in a step.

Departure: the quantile is the paper's; the authors' code interpolates between rewards.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.dapo import DAPOConfig
from aepo_rllib.objectives.advantages import Advantage, quantile_centred
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class QAEConfig(DAPOConfig):
    """`aepo train --algo qae --set quantile=0.4`."""

    quantile: float = option(0.4, "K: a larger one raises the entropy, a smaller one lowers it.", above=0, below=1)

    @override(DAPOConfig)
    @setter
    def training(self, *, quantile: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `DAPOConfig.training`."""
        return super().training(**kwargs)

    @override(DAPOConfig)
    def advantage(self) -> Advantage:
        """Less the quantile."""
        return self.punished(partial(quantile_centred, quantile=self.quantile))
