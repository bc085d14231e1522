"""PKPO (Walder and Karkhanis, arXiv 2505.15201): an unbiased gradient of max@k, for any rewards.

    s_i = (1 / C(n, k)) sum of max_{j in I} R_j over the k-subsets I with i in them
    A_i = s_i - (the same subsets' maxima without i),    J = E[ A_i log pi(o_t) ]

With rewards 0 and 1 a wrong completion has exactly 0: REINFORCE on positives, weighted by how rarely the others
succeed. `subset_baseline` names the paper's baselines: "loo_minus_one" (above, the paper's choice), "loo" (the mean s
of the others) and "none".

Departures: k stands still (the paper also lowers it during a run); `updates_per_batch` is 1, because there is no ratio.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.pass_at_k import PassAtKConfig
from aepo_rllib.objectives.advantages import Advantage
from aepo_rllib.objectives.at_k import LESS_BASELINE, best_of_subsets
from aepo_rllib.objectives.losses import reinforce
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class PKPOConfig(PassAtKConfig):
    """`aepo train --algo pkpo --set subset_size=4`."""

    updates_per_batch = 1
    subset_size: int = option(4, "k, the size of the subsets, at most `group_size`.", least=1)
    subset_baseline: str = option("loo_minus_one", "What is taken off.", choices=tuple(LESS_BASELINE))
    IDLE = (Idle(("clip_low", "clip_high", "dual_clip"), "leave it out: there is no ratio to clip"),)

    @override(PassAtKConfig)
    @setter
    def training(self, *, subset_baseline: str = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `PassAtKConfig.training`."""
        return super().training(**kwargs)

    @override(PassAtKConfig)
    def advantage(self) -> Advantage:
        """Of the largest rewards of subsets."""
        return partial(best_of_subsets, k=self.subset_size, baseline=self.subset_baseline)

    @override(PassAtKConfig)
    def surrogate(self) -> TokenLoss:
        """REINFORCE."""
        return reinforce

    @override(PassAtKConfig)
    def smallest_group(self) -> int:
        """The largest of all is a reward, too."""
        return self.subset_size

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks that advantages are not 0 by construction, besides what GRPO checks."""
        super().validate()
        if self.subset_baseline == "loo" and self.subset_size == self.group_size:
            raise ValueError(
                f"subset_baseline='loo' and subset_size={self.subset_size} clash: the only subset of that size is the "
                f"group of group_size={self.group_size}, so that all have one s and every advantage is 0; take a "
                "smaller subset_size or another subset_baseline"
            )
