"""Entropy targets: a number, a fraction of the base entropy ("0.5x"), or a piecewise-linear schedule over steps."""

from __future__ import annotations

import re
from collections.abc import Sequence

Target = float | str | Sequence[tuple[int, float | str]]
"""0.43, "0.5x", or [[0, "1.0x"], [100, "0.5x"]]."""


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
