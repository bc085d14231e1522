"""A method of one's own: weighted REINFORCE (Zhu et al., arXiv 2506.01347), which learns mostly from wrong completions.

J = lambda E[ R log pi(o) ] - E[ (1 - R) log pi(o) ]

aepo train --algo examples/own_method.py:WeightedReinforceConfig --set positive_weight=0.1 --steps 20
aepo methods examples/own_method.py:WeightedReinforceConfig
"""

from functools import partial

import torch

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.losses import reinforce
from aepo_rllib.objectives.parts import MAIN, Method, Stream, Term
from aepo_rllib.support.options import option


def weighted_signs(groups: Graded, *, positive_weight: float) -> torch.Tensor:
    """(P, G): lambda for a correct completion, -1 for a wrong one."""
    return torch.where(groups.rewards_PG > 0, positive_weight, -1.0)


class WeightedReinforceConfig(GRPOConfig):
    """Sampled and learned as GRPO is, with another advantage and another loss."""

    positive_weight: float = option(0.1, "Lambda, the weight of correct completions; 1 is REINFORCE.", least=0)

    def method(self) -> Method:
        advantage = partial(weighted_signs, positive_weight=self.positive_weight)
        return Method({MAIN: Stream(advantage)}, {MAIN: Term(reinforce)})
