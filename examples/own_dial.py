"""A dial of one's own: a proportional-integral controller of AEPO's temperature, whose sum stops growing at a bound.

aepo train --set controller=examples/own_dial.py:PITemperature --set controller_options.integral_gain=0.2 --steps 20
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class PITemperature:
    """T = clip(1 + p e + i sum of e, T_low, T_high), with e = target - entropy in nats per token."""

    temperature_low: float
    temperature_high: float
    proportional_gain: float = 1.0
    integral_gain: float = 0.05
    total: float = 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        return self.temperature_low, self.temperature_high

    def turn(self, entropy: float, target: float) -> float:
        error = target - entropy
        wanted = 1.0 + self.proportional_gain * error + self.integral_gain * (self.total + error)
        if self.temperature_low < wanted < self.temperature_high or (wanted - 1.0) * error < 0:
            self.total += error
        return min(max(wanted, self.temperature_low), self.temperature_high)

    def get_state(self) -> dict[str, Any]:
        return {"total": self.total}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.total = state["total"]
