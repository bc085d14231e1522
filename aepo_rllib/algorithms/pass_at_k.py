"""Pass@k training (Chen et al., arXiv 2508.10751): the advantage of a completion is that of the k-subsets it is in.

    rho = 1 - C(n - c, k) / C(n, k),    sigma = sqrt(rho (1 - rho))    of n completions, c of them correct
    A = (1 - rho) / (sigma + eps)    of a correct one
    A = (1 - rho - C(n - c - 1, k - 1) / C(n - 1, k - 1)) / (sigma + eps)    of a wrong one

Closed form of drawing all subsets. Problems that k completions surely solve (c > n - k) have advantage 0. k = 1 is GRPO
with the standard deviation of the population. A reward above 0 is correct.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage
from aepo_rllib.objectives.at_k import pass_at_k
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class PassAtKConfig(GRPOConfig):
    """`aepo train --algo pass_at_k --set subset_size=4`."""

    subset_size: int = option(4, "k, the size of the subsets, below `group_size`.", least=1)

    @override(GRPOConfig)
    @setter
    def training(self, *, subset_size: int = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Of subsets."""
        return partial(pass_at_k, k=self.subset_size)

    def smallest_group(self) -> int:
        """Completions that a problem needs: of k of k the best is known, and nothing compares them."""
        return self.subset_size + 1

    @override(AlgorithmConfig)
    def validate(self) -> None:
        """Checks that a group has subsets."""
        super().validate()
        if self.group_size < self.smallest_group():
            raise ValueError(
                f"subset_size={self.subset_size} needs a group_size of at least {self.smallest_group()}, which is "
                f"{self.group_size}: no completion would have an advantage; raise group_size or lower subset_size"
            )
