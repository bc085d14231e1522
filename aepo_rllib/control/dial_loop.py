"""`DialLoop`: one dial in a run: what it is shown of the entropy, how it is turned, and who watches it.

Nothing here reads its inputs back from a log, and whatever is kept is state of the run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

from aepo_rllib.control.dials import Dial, LearningDial, Outcome, Quiet
from aepo_rllib.control.monitor import ControlMonitor, ControlStep

NEUTRAL = {"temperature": 1.0, "coefficient": 0.0, "rejected_sign": 0.0}
"""What a dial can turn, and where that neither heats nor cools."""


class Turned(NamedTuple):
    """One turn of a dial.

    Attributes:
        entropy: What the dial was shown, in nats per token; None where nothing has been measured yet.
        target: Likewise, what it was to be.
        setting: What came out.
    """

    entropy: float | None
    target: float
    setting: float


class DialLoop:
    """Reads, turns, watches.

    Args:
        dial: The dial.
        window: It is shown the mean of this many batches' entropies.
        lag: 0 shows it up to this batch's entropy, 1 up to the previous batch's.
        initial: What it is shown where no batch has been measured yet; None leaves the setting neutral.
        setting: What it turns, which is also the metric's name: one of `NEUTRAL`.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        window: int = 1,
        lag: int = 0,
        initial: float | None = None,
        setting: str = "temperature",
    ) -> None:
        self.dial, self.window, self.lag, self.initial, self.setting = dial, window, lag, initial, setting
        self._turned = dial if isinstance(dial, LearningDial) else Quiet(dial)
        neutral = self.neutral = NEUTRAL[setting]
        self.monitor = ControlMonitor(neutral=neutral)
        self.entropies: list[float] = []
        """Of the latest batches, newest last."""
        self.last: Turned | None = None
        self._ahead: float | None = None

    def turn(self, measured: float | None, target: float) -> Turned:
        """Turn the dial once.

        Args:
            measured: This batch's entropy in nats per token; None where it has none.
            target: What it is to be.

        Raises:
            ValueError: it turned to something that is no number within its bounds.
        """
        if measured is not None:
            self.entropies = [*self.entropies, measured][-self.window - self.lag :]
        entropy = self._shown(len(self.entropies) - self.lag)
        setting = self._setting(entropy, target) if self._ahead is None else self._ahead
        self.last, self._ahead = Turned(entropy, target, setting), None
        return self.last

    def ahead(self, target: float) -> float | None:
        """What the next `turn` to this target will come to, whatever it is told; None where that matters."""
        if self.lag:
            self._ahead = self._setting(self._shown(len(self.entropies) + 1 - self.lag), target)
            return self._ahead
        low, high = self.dial.bounds
        self._ahead = low if low == high else None
        return self._ahead

    def _shown(self, batches: int) -> float | None:
        """The mean of the last of so many batches' entropies."""
        shown = self.entropies[:batches][-self.window :]
        return sum(shown) / len(shown) if shown else self.initial

    def _setting(self, entropy: float | None, target: float) -> float:
        return self.neutral if entropy is None else self._checked(self._turned.turn(entropy, target))

    def _checked(self, setting: Any) -> float:
        low, high = self.dial.bounds
        if isinstance(setting, bool) or not isinstance(setting, int | float) or not low <= setting <= high:
            name = type(self.dial).__name__
            raise ValueError(f"dial {name} turned to {setting!r}, no number within its bounds, {low:g} to {high:g}")
        return setting

    def watch(self, outcome: Outcome) -> list[str]:
        """Have the dial, where it learns, and the monitor look at what the last turn came to.

        Returns:
            What is wrong, in words; mostly nothing.
        """
        if self.last is None or self.last.entropy is None:
            return []
        own = self._turned.learn(outcome)
        step = ControlStep(self.last.entropy, self.last.target, self.last.setting, outcome.positives, self._turned.stop)
        return own + self.monitor.observe(step)

    @property
    def strength(self) -> float:
        """A factor on the weight of the turned term."""
        return self._turned.strength

    def figures(self) -> dict[str, float]:
        """What is logged beside the setting."""
        return self._turned.figures()

    def get_state(self) -> dict[str, Any]:
        """What `set_state` takes back; a dial that goes on changing what it gave does not change it."""
        dial = copy.deepcopy(self.dial.get_state())
        return {"entropies": self.entropies, "dial": dial, "monitor": self.monitor.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""
        self.entropies, self._ahead = list(state["entropies"]), None
        self.dial.set_state(copy.deepcopy(state["dial"]))
        self.monitor.set_state(state["monitor"])
