"""`ProportionalIntegral`: EntroPIC's law, a coefficient that remembers how long the entropy has been off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class ProportionalIntegral:
    """clip(K_p e + K_i (sum of the errors before), -1, 1), with e = target - entropy (arXiv 2511.15248).

    The paper's alpha is minus this, because its e has the other sign. The sum goes on growing at a bound, as in the
    authors' code: after a long time there the coefficient stays at it until the errors of the other sign have paid.

    Attributes:
        proportional, integral: K_p and K_i.
        total: Sum of all errors so far, in nats per token.
    """

    proportional: float
    integral: float
    total: float = 0.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The clip."""
        return -1.0, 1.0

    def turn(self, entropy: float, target: float) -> float:
        """Above 0 heats; this error joins the sum afterwards."""
        error = target - entropy
        coefficient = self.proportional * error + self.integral * self.total
        self.total += error
        return min(max(coefficient, -1.0), 1.0)

    def get_state(self) -> dict[str, Any]:
        """The sum."""
        return {"total": self.total}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""
        self.total = state["total"]
