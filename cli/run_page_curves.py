"""Curves of a run as drawings inside its page, in the page's own colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from aepo_rllib import metrics
from aepo_rllib.cli.plots import column, dial_column, entropy_column, running_mean, window_of
from aepo_rllib.control.dial_loop import NEUTRAL
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.reports.page import as_markup

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 16, 8, 24
"""Margins; there stand the numbers."""
MOST_POINTS = 600
"""Of a line; a longer one is thinned."""
TICKS = 5
EDGE = 0.04
"""Share of what is drawn that is left free above and below it."""


class Curve(NamedTuple):
    """What is drawn of a metric.

    Attributes:
        look: Its class in the page's style.
        values: A value a step; nan where there is none.
        label: In the legend; "" leaves it out.
        dots: Whether each value is a dot of its own.
        joined: Whether they are joined by a line.
    """

    look: str
    values: np.ndarray
    label: str = ""
    dots: bool = False
    joined: bool = True


def charts(records: Sequence[dict[str, Any]]) -> str:
    """All charts that a run has figures for, as markup."""
    step = column(records, "step")
    drawn = (
        _chart("reward and validation", step, list(_rewards(records))),
        _chart("entropy at T = 1, nats per token", step, list(_entropies(records)), low=0.0),
        *_dial(records, step),
        _chart("shares of completions and groups", step, list(_shares(records)), low=0.0),
        _chart(
            "tokens per completion", step, list(_both("main", column(records, metrics.MAIN, metrics.COMPLETION_TOKENS)))
        ),
    )
    return "".join(drawn)


def _both(look: str, values: np.ndarray, label: str = "") -> Iterator[Curve]:
    """Every step, faint, and the running mean over it."""
    if not np.isnan(values).all():
        yield Curve(f"{look} raw", values)
        yield Curve(look, running_mean(values), label)


def _rewards(records: Sequence[dict[str, Any]]) -> Iterator[Curve]:
    for stream in (metrics.TEMPERED, metrics.MAIN):
        yield from _both(stream, column(records, stream, metrics.REWARD_MEAN), f"{stream} completions")
    score = column(records, metrics.EVALUATION, metrics.PASS_AT_1)
    yield Curve("validation", score, "validation pass@1", dots=True)


def _entropies(records: Sequence[dict[str, Any]]) -> Iterator[Curve]:
    yield from _both("main", entropy_column(records)[0], "entropy")
    yield Curve("target", column(records, metrics.CONTROL, metrics.TARGET_ENTROPY), "target")
    yield Curve("base", column(records, metrics.CONTROL, metrics.BASE_ENTROPY), "starting model")


def _dial(records: Sequence[dict[str, Any]], step: np.ndarray) -> Iterator[str]:
    if (dial := dial_column(records)) is None:
        return
    setting, name = dial
    neutral = NEUTRAL[name]
    curves = [
        Curve("base", np.full(len(step), neutral)),
        Curve("hot", np.where(setting > neutral, setting, np.nan), "pushes the entropy up", dots=True, joined=False),
        Curve("cold", np.where(setting > neutral, np.nan, setting), "down", dots=True, joined=False),
    ]
    yield _chart(f"the dial: {name.replace('_', ' ')}", step, curves)


def _shares(records: Sequence[dict[str, Any]]) -> Iterator[Curve]:
    for look, name, label in (
        ("no-answer", metrics.TRUNCATED_SHARE, "cut off"),
        ("wrong", metrics.verdict_share(Verdict.NO_ANSWER), "without an answer"),
        ("base", metrics.FLAT_GROUP_SHARE, "problems solved always or never"),
    ):
        values = column(records, metrics.MAIN, name)
        if not np.isnan(values).all():
            yield Curve(look, running_mean(values), label)


def _chart(title: str, step: np.ndarray, curves: Sequence[Curve], *, low: float = math.inf) -> str:
    """A drawing with its legend; "" where there is nothing to draw.

    Args:
        title: What it shows.
        step: The horizontal axis.
        curves: Drawn in this order.
        low: The vertical axis reaches at least down to here.
    """
    there = [curve for curve in curves if not np.isnan(curve.values).all()]
    if not there:
        return ""
    least = min(low, *(float(np.nanmin(curve.values)) for curve in there))
    most = max(float(np.nanmax(curve.values)) for curve in there)
    room = EDGE * ((most - least) or abs(most) or 1.0)
    least, most = least - room * (least != low), most + room
    rows, columns = _ticks(least, most), _ticks(float(step[0]), float(step[-1]), integer=True)
    place = _Place(float(step[0]), float(step[-1]), least, most)
    lines = [
        *(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place.y(r)}" y2="{place.y(r)}"/>' for r in rows),
        *(f'<text x="{LEFT - 6}" y="{place.y(r) + 4:.1f}" text-anchor="end">{r:.6g}</text>' for r in rows),
        *(f'<text x="{place.x(c)}" y="{HEIGHT - 6}" text-anchor="middle">{c:.6g}</text>' for c in columns),
        *(mark for curve in there for mark in _marks(curve, step, place)),
    ]
    keys = (f'<span class="key {curve.look}">{as_markup(curve.label)}</span>' for curve in there if curve.label)
    name = as_markup(title)
    return (
        f'<figure class="chart"><figcaption>{name} <span class="keys">{"".join(keys)}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(lines)}</svg></figure>\n'
    )


class _Place(NamedTuple):
    """Where values stand in a drawing."""

    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        span = (self.last - self.first) or 1.0
        return round(LEFT + (step - self.first) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return round(HEIGHT - BOTTOM - (value - self.low) / span * (HEIGHT - TOP - BOTTOM), 1)


def _marks(curve: Curve, step: np.ndarray, place: _Place) -> Iterator[str]:
    there = np.flatnonzero(~np.isnan(curve.values))
    there = there[:: max(1, len(there) // MOST_POINTS)]
    points = [(place.x(step[at]), place.y(curve.values[at])) for at in there]
    if curve.joined:
        yield f'<polyline class="{curve.look}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>'
    if curve.dots:
        yield from (f'<circle class="{curve.look}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in points)


def _ticks(low: float, high: float, *, integer: bool = False) -> list[float]:
    """Round numbers between `low` and `high`."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(TICKS, integer=integer).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def legend(records: Sequence[Any]) -> str:
    """What all charts have in common, in words."""
    return f"Faint lines are single steps, bold ones running means of {window_of(len(records))}." if records else ""
