"""Dials: what is measured becomes a setting, be it a temperature or a coefficient.

A dial is built once, from the options of its constructor, and saved with the run. It reads an entropy and a target,
both in nats per token at T = 1. One of your own needs no more than the four members of
`Dial`; see docs/extending/dial.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Dial(Protocol):
    """Turns what was measured into a setting."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest setting."""

    def turn(self, entropy: float, target: float) -> float:
        """The setting of this step, for a policy of this entropy. Asked once a step, in order."""

    def get_state(self) -> dict[str, Any]:
        """Plain values that `set_state` takes back."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""


class Outcome(NamedTuple):
    """What a training step came to.

    Attributes:
        positives: Completions of the turned stream that carried gradient; None where no stream is turned.
        share: Of that stream's completions; None where none was judged.
        untempered_share: Share of completions at T = 1 that are rewarded, likewise.
        gain: Mean of `objectives.entropy.tempering_gain` over their tokens; None where the engine does not compute it.
    """

    positives: int | None
    share: float | None = None
    untempered_share: float | None = None
    gain: float | None = None


@runtime_checkable
class LearningDial(Dial, Protocol):
    """A dial that is told what came of its setting, and has more to say than one number."""

    strength: float
    """A factor on the weight of the turned term, of the last turn."""
    stop: int
    """1 or -1 where the last turn gave all that there is upwards or downwards, else 0."""

    def learn(self, outcome: Outcome) -> list[str]:
        """Called after every step with what it came to; returns what is wrong, in words."""

    def figures(self) -> dict[str, float]:
        """What is logged beside the setting, by the metric's name."""


class Quiet:
    """A dial that learns nothing, as one that does: it stops at its bounds, and has nothing to say.

    Args:
        dial: It; its state is its own.
    """

    strength = 1.0

    def __init__(self, dial: Dial) -> None:
        self._dial, self.stop = dial, 0

    def turn(self, entropy: float, target: float) -> float:
        """The dial's own."""
        setting = self._dial.turn(entropy, target)
        low, high = self._dial.bounds
        self.stop = 0 if low == high else (setting == high) - (setting == low)
        return setting

    def learn(self, outcome: Outcome) -> list[str]:
        """Nothing is wrong."""
        return []

    def figures(self) -> dict[str, float]:
        """Nothing."""
        return {}


class Stateless:
    """A dial that only looks at the present."""

    def get_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


@dataclass
class TemperatureSwitch(Stateless):
    """The paper's two-level rule: T_high below the target, T_low otherwise (arXiv 2510.08141, v1-v6)."""

    temperature_low: float
    temperature_high: float

    @property
    def bounds(self) -> tuple[float, float]:
        """T_low and T_high."""
        return self.temperature_low, self.temperature_high

    def turn(self, entropy: float, target: float) -> float:
        """T_high or T_low."""
        return self.temperature_high if entropy < target else self.temperature_low


class HeatingSwitch(TemperatureSwitch):
    """The same as the authors' code has it: at equality it heats."""

    def turn(self, entropy: float, target: float) -> float:
        """T_high or T_low."""
        return self.temperature_high if entropy <= target else self.temperature_low


@dataclass
class ProportionalTemperature(Stateless):
    """The later version's T = clip(1 + gain (target - entropy), T_low, T_high), with gain 1 (v7)."""

    temperature_low: float
    temperature_high: float
    gain: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The clip of the temperature."""
        return self.temperature_low, self.temperature_high

    def turn(self, entropy: float, target: float) -> float:
        """1 plus the error, clipped."""
        return min(max(1.0 + self.gain * (target - entropy), self.temperature_low), self.temperature_high)


@dataclass
class Constant(Stateless):
    """No control: one setting, whatever the entropy. For ablations."""

    value: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The setting, twice."""
        return self.value, self.value

    def turn(self, entropy: float, target: float) -> float:
        """The setting."""
        return self.value
