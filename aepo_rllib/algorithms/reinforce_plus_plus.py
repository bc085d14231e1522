"""REINFORCE++ (Hu et al., arXiv 2501.03262): rewards normalised over the batch, not within groups.

    A_i = (R_i - mean) / sqrt(var + 1e-8),    mean and variance over all tokens of the batch

`group_baseline=True` takes the mean of the group off first, the paper's variant for several completions of a prompt.

Departures: no discount (the paper's gamma is 1, too); the KL penalty is a term of the loss (`kl_coefficient`, `k2` is
the paper's), not part of the reward.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage, whitened
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class ReinforcePlusPlusConfig(GRPOConfig):
    """`aepo train --algo reinforce_plus_plus --set group_baseline=true`."""

    group_baseline: bool = option(False, "Take the mean of its group off every reward first.")

    @override(GRPOConfig)
    @setter
    def training(self, *, group_baseline: bool = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Whitened over the batch."""
        return partial(whitened, group_baseline=self.group_baseline)
