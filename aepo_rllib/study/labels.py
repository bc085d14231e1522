"""Names beside the points of a plot, where they can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

RADII, ANGLES = (7, 14, 22, 32, 44, 58, 74, 92, 112), 16
"""Where a name may stand around its point: pixels between them, and directions."""
FAR = 14
"""From where on a line leads from a name to its point."""
PAD = 2


class Label(NamedTuple):
    """A name, its point in data coordinates, and its colour."""

    text: str
    x: float
    y: float
    colour: str


def write_labels(axis: Any, labels: Sequence[Label], others: np.ndarray, size: float = 8) -> None:
    """Write every name where it covers least: of points, of names before it, and of what is beyond the axes.

    Args:
        axis: Of a figure whose layout is final; its limits become so.
        labels: What is written.
        others: Further points (N, 2) that are better not covered.
        size: Of the letters.
    """
    axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())  # or lines would move them
    renderer = axis.figure.canvas.get_renderer()
    points = axis.transData.transform([(label.x, label.y) for label in labels])
    small = axis.transData.transform(others) if len(others) else np.empty((0, 2))
    boxes = [np.hstack([points - 4, points + 4]), np.hstack([small - 2, small + 2])]  # left, bottom, right, top
    taken, inside = np.vstack(boxes), axis.get_window_extent(renderer).extents
    crowded = np.linalg.norm(points[:, None] - points, axis=-1)
    for place in np.argsort(np.sort(crowded, axis=1)[:, : min(5, len(points))].sum(axis=1)):
        label, (x, y) = labels[place], points[place]
        text = axis.text(label.x, label.y, label.text, fontsize=size, color=label.colour, ha="center", va="center")
        half = np.array(text.get_window_extent(renderer).size) / 2 + PAD
        directions = 2 * np.pi * np.arange(ANGLES) / ANGLES
        around = [
            (radius, np.array([x, y]) + np.array([np.cos(a), np.sin(a)]) * (half + radius))
            for radius in RADII
            for a in directions
        ]
        radius, centre = min(around, key=lambda one: _cost(one[1] - half, one[1] + half, taken, inside) + one[0])
        taken = np.vstack([taken, [*(centre - half), *(centre + half)]])
        text.set_position(axis.transData.inverted().transform(centre))
        if radius > FAR:
            end = axis.transData.inverted().transform(np.clip((x, y), centre - half, centre + half))
            axis.plot([label.x, end[0]], [label.y, end[1]], color=label.colour, lw=0.6, alpha=0.6)


def _cost(low: np.ndarray, high: np.ndarray, taken: np.ndarray, inside: np.ndarray) -> float:
    """Pixels that a name would cover, and those that it would have beyond the axes, tenfold."""
    common = np.clip(np.minimum(high, taken[:, 2:]) - np.maximum(low, taken[:, :2]), 0, None).prod(axis=1).sum()
    outside = np.prod(high - low) - np.clip(np.minimum(high, inside[2:]) - np.maximum(low, inside[:2]), 0, None).prod()
    return float(common + 10 * outside)
