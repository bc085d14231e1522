"""RLOO (Ahmadian et al., arXiv 2402.14740): the baseline of a completion is the mean of the others of its group.

    A_i = R_i - mean_{j != i} R_j,    a sum over tokens

`completion_ratio=True` clips one ratio a completion, pi(o) / pi_old(o), over several optimizer steps of a batch, as TRL
does; without it each token has its own. With one step both are the paper's REINFORCE.

Departures: the sum is divided by `max_new_tokens`, which AdamW hardly sees; a KL penalty is a term of the loss
(`kl_coefficient`), not part of the reward.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Advantage, leave_one_out
from aepo_rllib.objectives.losses import completion_clipped
from aepo_rllib.objectives.parts import TokenLoss
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter

MEAN_OF_MEANS = "seq-mean-token-mean"


class RLOOConfig(GRPOConfig):
    """`aepo train --algo rloo`."""

    aggregation = "seq-mean-token-sum-norm"
    completion_ratio: bool = option(False, "One ratio a completion in the place of one a token.")
    IDLE = (Idle(("dual_clip",), "completions have no dual clip", when="completion_ratio", values=(True,)),)

    @override(GRPOConfig)
    @setter
    def training(self, *, completion_ratio: bool = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `GRPOConfig.training`."""
        return super().training(**kwargs)

    @override(GRPOConfig)
    def validate(self) -> None:
        """Refuses a mean over the tokens of a completion whose loss is the completion's."""
        super().validate()
        if self.completion_ratio and self.aggregation == MEAN_OF_MEANS:
            raise ValueError(
                f"aggregation={MEAN_OF_MEANS!r} with completion_ratio=True would divide a completion's loss by its "
                "length twice; choose 'seq-mean-token-sum-norm' or 'token-mean'"
            )

    @override(GRPOConfig)
    def advantage(self) -> Advantage:
        """Leave-one-out."""
        return leave_one_out

    @override(GRPOConfig)
    def surrogate(self) -> TokenLoss:
        """Clipped, per token or completion."""
        if not self.completion_ratio:
            return super().surrogate()
        return partial(completion_clipped, low=self.clip_low, high=self.clip_high)
