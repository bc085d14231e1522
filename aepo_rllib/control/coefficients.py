"""Dials that turn a coefficient of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class SteppedCoefficient:
    """Skywork-OR1's rule (arXiv 2505.22312): up a step while the entropy is below its target, else down a step.

    A coefficient is applied where the entropy before it was below the target, and not in the step that it was found in.

    Attributes:
        step: By which it moves.
        most: Where it stops; it starts at 0, where it stops on the other side.
        value: Where it stands.
        below: Whether the last entropy was below its target.
    """

    step: float
    most: float
    value: float = 0.0
    below: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """0 and the most."""
        return 0.0, self.most

    def turn(self, entropy: float, target: float) -> float:
        """What applies to this step."""
        applied = self.value if self.below else 0.0
        self.below = entropy < target
        self.value = min(max(self.value + (self.step if self.below else -self.step), 0.0), self.most)
        return applied

    def get_state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"value": self.value, "below": self.below}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""
        self.value, self.below = state["value"], state["below"]
