"""Ablation of AEPO: no control, every tempered completion is drawn at one temperature (Figure 2 of the paper).

Hot samples raise the entropy and cold ones lower it, whatever it is: what the switch of AEPO is made of.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.utils.annotations import override
from typing_extensions import Self

from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.control.dials import Constant, Dial
from aepo_rllib.support.options import Idle, option
from aepo_rllib.training.declared import setter


class AEPOConstantConfig(AEPOConfig):
    """`aepo train --algo aepo_constant --set temperature=1.2`."""

    temperature: float = option(1.0, "Of the tempered stream.", above=0)
    IDLE = (
        Idle(
            ("target_entropy", "controller", "controller_options", "temperature_low", "temperature_high"),
            "leave it out: nothing is controlled",
        ),
    )

    @override(AEPOConfig)
    @setter
    def entropy_control(self, *, temperature: float = NotProvided, **kwargs: Any) -> Self:
        """Sets the temperature; there is no control."""
        return super().entropy_control(**kwargs)

    @override(AEPOConfig)
    def dial(self) -> Dial:
        """One that stands still."""
        return Constant(self.temperature)
