"""`ControlMonitor`: notices when the entropy dial turns without effect.

A switch that is always hot looks healthy in a plot as long as the entropy happens to be near the target. What gives
it away is its share of hot steps, together with an error that does not shrink.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np

WINDOW = 50
"""Training steps looked back upon."""
AT_STOP_SHARE = 0.95
ERROR_TOLERANCE = 0.05
"""Share of the target that the entropy may be off without a word."""
CLOSING_IN = 0.9
"""An error that falls below this share of itself within half a window is closing in: the run is still settling."""
MISSING_SHARE = 0.5


class ControlStep(NamedTuple):
    """What one training step shows of the control.

    Attributes:
        entropy: Nats per token, as the dial read it.
        target: Nats per token.
        setting: What the dial was turned to.
        positives: Completions of the turned stream that carried gradient; None where no stream is turned.
        stop: 1 or -1 where the dial had nothing more to give upwards or downwards, else 0.
    """

    entropy: float
    target: float
    setting: float
    positives: int | None
    stop: int


class ControlMonitor:
    """Keeps the last steps and puts what is wrong into words.

    Args:
        window: Steps looked back upon; nothing is said before there are so many.
        neutral: The setting that neither heats nor cools.
    """

    def __init__(self, *, window: int = WINDOW, neutral: float = 1.0) -> None:
        self.window, self.neutral = window, neutral
        self._steps: deque[ControlStep] = deque(maxlen=window)
        self._quiet_for = 0

    def observe(self, step: ControlStep) -> list[str]:
        """Take note of a step.

        Returns:
            What happened and what to change, one sentence or two per trouble; at most once per window.
        """
        self._steps.append(step)
        self._quiet_for = max(self._quiet_for - 1, 0)
        if len(self._steps) < self.window or self._quiet_for:
            return []
        complaints = [text for text in (self._missing_positives(), self._saturation()) if text]
        if complaints:
            self._quiet_for = self.window
        return complaints

    @property
    def hot_share(self) -> float:
        """Share of the window's steps with a setting above neutral; 0 before the first step."""
        return float(np.mean([step.setting > self.neutral for step in self._steps])) if self._steps else 0.0

    @property
    def stuck(self) -> bool:
        """Whether the setting stays at one bound while the entropy stays away from its target."""
        return bool(self._saturation())

    def get_state(self) -> dict[str, Any]:
        """What `set_state` takes back."""
        return {"steps": [tuple(step) for step in self._steps], "quiet_for": self._quiet_for}

    def set_state(self, state: dict[str, Any]) -> None:
        """Undo `get_state`."""
        self._steps = deque((ControlStep(*step) for step in state["steps"]), maxlen=self.window)
        self._quiet_for = state["quiet_for"]

    def _saturation(self) -> str:
        if len(self._steps) < self.window:
            return ""
        for stop in (1, -1):
            at_stop = sum(step.stop == stop for step in self._steps)
            errors = np.array([stop * (step.target - step.entropy) for step in self._steps])
            before, now = errors[: self.window // 2].mean(), errors[self.window // 2 :].mean()
            target = self._steps[-1].target
            if at_stop < AT_STOP_SHARE * self.window or now < max(ERROR_TOLERANCE * target, CLOSING_IN * before):
                continue
            side, cure = (
                ("below", "raise alpha or temperature_high, or lower target_entropy")
                if stop > 0
                else ("above", "raise alpha or lower temperature_low, or raise target_entropy")
            )
            return (
                f"the entropy control is at its stop in {at_stop} of the last {self.window} steps, with a setting of "
                f"{self._steps[-1].setting:.3g}, and the entropy is {now:.3f} nats/token {side} its target "
                f"{target:.3f} without closing in; {cure}"
            )
        return ""

    def _missing_positives(self) -> str:
        missing = sum(step.positives == 0 for step in self._steps)
        if missing <= MISSING_SHARE * self.window:
            return ""
        return (
            f"no tempered completion was correct in {missing} of the last {self.window} steps, and nothing held the "
            "entropy in those; take easier problems, raise tempered_share or group_size, or lower temperature_high"
        )
