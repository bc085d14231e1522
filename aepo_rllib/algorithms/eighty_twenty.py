"""80/20 (Wang et al., arXiv 2506.01939): DAPO whose gradient is that of the most uncertain fifth of the tokens.

    J = J_DAPO over the tokens with H_t >= the quantile of 1 - share of all tokens' entropies

Departures: the quantile is that of an optimizer step over all learners, not of a micro-batch; the mean still counts all
tokens, as in TRL.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.dapo import DAPOConfig
from aepo_rllib.objectives.parts import Selection
from aepo_rllib.objectives.selections import most_uncertain
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import setter


class EightyTwentyConfig(DAPOConfig):
    """`aepo train --algo eighty_twenty`."""

    uncertain_share: float = option(0.2, "Share of the tokens that are learned from.", above=0, most=1)

    @override(DAPOConfig)
    @setter
    def training(self, *, uncertain_share: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the training related configuration: this, and those of `DAPOConfig.training`."""
        return super().training(**kwargs)

    @override(DAPOConfig)
    def selection(self) -> Selection:
        """The most uncertain."""
        return partial(most_uncertain, share=self.uncertain_share)
