"""How the distance between an entropy and its target becomes a sampling temperature.

A controller is a pure function of (entropy, target), both in nats per token at T = 1. A target is a number, a
fraction of the base entropy ("0.5x"), or a piecewise-linear schedule of either over training steps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Target = float | str | Sequence[tuple[int, float | str]]
"""0.43, "0.5x", or [[0, "1.0x"], [100, "0.5x"]]."""


class TemperatureController(Protocol):
    """Chooses the temperature of the tempered stream."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest temperature it can choose."""

    def temperature(self, entropy: float, target: float) -> float:
        """The temperature for a policy of this entropy."""


@dataclass(frozen=True)
class TemperatureSwitch:
    """The paper's two-level rule: T_high below the target, T_low otherwise (arXiv 2510.08141, v1-v6).

    At equality the paper cools and the authors' code heats (`<=`); `heat_at_target` chooses.
    """

    low: float = 0.8
    high: float = 1.2
    heat_at_target: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """T_low and T_high."""
        return self.low, self.high

    def temperature(self, entropy: float, target: float) -> float:
        """T_high or T_low."""
        hot = entropy < target or (self.heat_at_target and entropy == target)
        return self.high if hot else self.low


@dataclass(frozen=True)
class ProportionalTemperature:
    """The later version's T = clip(1 + target - entropy, low, high) (v7)."""

    low: float = 0.8
    high: float = 1.2

    @property
    def bounds(self) -> tuple[float, float]:
        """The clip of the temperature."""
        return self.low, self.high

    def temperature(self, entropy: float, target: float) -> float:
        """1 plus the error, clipped."""
        return min(max(1.0 + target - entropy, self.low), self.high)


@dataclass(frozen=True)
class ConstantTemperature:
    """No control: every tempered completion is drawn at one temperature. For ablations."""

    value: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The temperature, twice."""
        return self.value, self.value

    def temperature(self, entropy: float, target: float) -> float:
        """The temperature, whatever the entropy."""
        return self.value


def parse_level(level: float | str) -> tuple[float, bool]:
    """(value, whether it is a fraction of the base entropy) of `0.43` or `"0.5x"`.

    Raises:
        ValueError: neither a number nor a number followed by x, or not above zero.
    """
    match = re.fullmatch(r"\s*([0-9.eE+-]+?)\s*(x?)\s*", str(level))
    try:
        value = float(match.group(1)) if match else float("nan")
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise ValueError(
            f"{level!r} is no entropy target; give nats per token above 0 (0.43) or a fraction of the base entropy "
            "(0.5x)"
        )
    return value, bool(match and match.group(2))


def schedule_points(target: Target) -> list[tuple[int, float | str]]:
    """A target as (step, level) points; a constant target is one point at step 0.

    Raises:
        ValueError: a schedule that is empty, does not start at step 0, or is not in increasing order.
    """
    if isinstance(target, int | float | str):
        parse_level(target)
        return [(0, target)]
    try:
        points = [(step, level) for step, level in target]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{target!r} is no target entropy: neither a level nor a list of [step, level]") from error
    steps = [step for step, _ in points]
    whole = all(isinstance(step, int) for step in steps)
    if not points or not whole or steps[0] != 0 or steps != sorted(set(steps)):
        raise ValueError(f"a target schedule needs increasing whole steps that start at 0, got {steps}")
    for _, level in points:
        parse_level(level)
    return points


def target_at(target: Target, step: int, base_entropy: float) -> float:
    """The target in nats per token at a training step, linear between the points of a schedule."""
    levels = []
    for point_step, level in schedule_points(target):
        value, is_fraction = parse_level(level)
        levels.append((point_step, value * base_entropy if is_fraction else value))
    previous = levels[0]
    for point in levels:
        if step < point[0]:
            share = (step - previous[0]) / (point[0] - previous[0])
            return previous[1] + share * (point[1] - previous[1])
        previous = point
    return previous[1]
