"""A comparison as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aepo_rllib.eval.passk import PassAtKCurve
from aepo_rllib.eval.reports.differences import Comparison
from aepo_rllib.eval.reports.plot import COLOURS, plain_pyplot, style_k_axis
from aepo_rllib.support.terminal import visible

MAX_LEGEND_CHARS = 60
MOST_FILLED = 2
Ends = Sequence[tuple[np.ndarray, np.ndarray]]


def plot_comparisons(comparisons: Sequence[Comparison], file: Path) -> None:
    """Draw a column per suite: the curves above, the differences below, with intervals and bands.

    Args:
        comparisons: Of whole suites.
        file: The picture; its ending names the format.
    """
    with plain_pyplot() as plt:
        figure, axes = plt.subplots(
            2,
            len(comparisons),
            figsize=(7 * len(comparisons), 7.5),
            squeeze=False,
            layout="constrained",
            height_ratios=(3, 2),
        )
        for place, comparison in enumerate(comparisons):
            above, below = axes[:, place]
            _panels(above, below, comparison)
        # Below the axes: inside of them it would cover what it explains.
        handles, labels = axes[0, 0].get_legend_handles_labels()
        columns = 1 if max(map(len, labels)) > MAX_LEGEND_CHARS // 3 else min(len(labels), 4)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
        figure.savefig(file, dpi=150)
        plt.close(figure)


def _panels(above: Any, below: Any, comparison: Comparison) -> None:
    curves, differences = comparison.curves, comparison.differences
    colours = dict(zip(curves, COLOURS * len(curves), strict=False))
    draw = _filled if len(curves) <= MOST_FILLED else _barred
    for place, (name, curve) in enumerate(curves.items()):
        draw(above, curve, [], colours[name], name, place - (len(curves) - 1) / 2)
    for place, each in enumerate(differences):
        band = [(each.band_low, each.band_high)]
        draw(below, each.curve, band, colours[each.name], each.name, place - (len(differences) - 1) / 2)
    for axis in (above, below):
        style_k_axis(axis, next(iter(curves.values())).ks)
    below.set_xlim(above.get_xlim())
    highest = max(100 * float(np.nanmax([curve.mean, curve.high])) for curve in curves.values())
    above.set_ylim(0, min(103, 1.1 * highest or 103))  # points at 100 stay whole
    above.set_ylabel("pass@k in %, with 95 % interval")
    above.set_title(visible(f"{comparison.suite}, {comparison.problems} problems"))
    below.axhline(0, color="black", lw=1)
    first = visible(next(iter(curves)))
    base = first if len(first) < MAX_LEGEND_CHARS // 2 else "the first"
    below.set_ylabel(f"minus {base}, paired:\n95 % interval, and band over all k")


def _filled(axis: Any, curve: PassAtKCurve, band: Ends, colour: str, label: str, shift: float) -> None:
    """The interval as an area, and the band as a paler one."""
    ks = np.array(curve.ks)
    for (low, high), alpha in zip([(curve.low, curve.high), *band], (0.15, 0.08), strict=False):
        axis.fill_between(ks, 100 * low, 100 * high, color=colour, alpha=alpha, lw=0)
    axis.plot(ks, 100 * curve.mean, color=colour, lw=2, marker="o", ms=4, label=visible(label)[:MAX_LEGEND_CHARS])


def _barred(axis: Any, curve: PassAtKCurve, band: Ends, colour: str, label: str, shift: float) -> None:
    """The interval as a bar, and the band as a thinner one: areas of many curves hide one another."""
    ks = np.array(curve.ks) * 2.0 ** (0.06 * shift)
    for (low, high), width in zip([(curve.low, curve.high), *band], (1.6, 0.6), strict=False):
        axis.vlines(ks, 100 * low, 100 * high, color=colour, lw=width)
    axis.plot(ks, 100 * curve.mean, color=colour, lw=1.5, marker="o", ms=4, label=visible(label)[:MAX_LEGEND_CHARS])
