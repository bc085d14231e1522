"""`GeometricTemperature`: E3's law, a temperature that is multiplied by a factor in every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST = 1e-6
"""Entropy in nats per token that is read at least: a deterministic policy has no logarithm."""


@dataclass
class GeometricTemperature:
    """T <- T (1 + T ln(target / H) / (ln V + ln ln V)), without bounds (the code of E3-RL4LLMs).

    Attributes:
        vocabulary: V, tokens that the model knows.
        temperature: Where it stands.
    """

    vocabulary: int
    temperature: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """None but 0, below which there is no temperature."""
        return 0.0, math.inf

    def turn(self, entropy: float, target: float) -> float:
        """The next temperature."""
        scale = math.log(self.vocabulary) + math.log(math.log(self.vocabulary))
        error = math.log(target / max(entropy, LEAST))
        self.temperature *= 1 + self.temperature * error / scale
        return self.temperature

    def get_state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"temperature": self.temperature}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""
        self.temperature = state["temperature"]
