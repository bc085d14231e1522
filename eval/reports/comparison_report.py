"""A comparison as table, JSON and picture."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group

from aepo_rllib.eval.passk import FEW_PROBLEMS, FEW_PROBLEMS_NOTE, PassAtKCurve
from aepo_rllib.eval.reports.curves import curve_json
from aepo_rllib.eval.reports.differences import Comparison, Crossover, Difference
from aepo_rllib.eval.reports.diversity_report import diversity_comparison_json
from aepo_rllib.eval.reports.plot import COLOURS, plain_pyplot, style_k_axis
from aepo_rllib.eval.reports.table import plain_table, titled
from aepo_rllib.support.locks import write_atomically
from aepo_rllib.support.terminal import visible


def comparison_table(comparison: Comparison) -> Group:
    """A row per k: pass@k of every evaluation, and differences from the first with their intervals, in percent."""
    first, *_ = comparison.curves
    table = plain_table()
    table.add_column("", no_wrap=True)
    for name in comparison.curves:
        table.add_column(visible(name), justify="right")
    for difference in comparison.differences:
        table.add_column(visible(f"{difference.name} - {first}"), justify="right")
    for place, k in enumerate(comparison.curves[first].ks):
        scores = [f"{100 * curve.mean[place]:.1f}" for curve in comparison.curves.values()]
        table.add_row(f"pass@{k}", *scores, *(_cell(difference.curve, place) for difference in comparison.differences))
    title = f"{comparison.suite}, {comparison.problems} problems: pass@k in %, and difference [95 % interval, paired]"
    few = [FEW_PROBLEMS_NOTE] if comparison.problems < FEW_PROBLEMS else []
    return titled(title, table, "; ".join([*map(_crossover_text, comparison.differences), *comparison.notes, *few]))


def write_comparison(comparisons: Sequence[Comparison], folder: Path) -> None:
    """Write compare.json, compare.png and compare.svg.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {comparison.suite: _as_json(comparison) for comparison in comparisons}
    write_atomically(folder / "compare.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    for ending in ("png", "svg"):
        _plot(comparisons, folder / f"compare.{ending}")


def _cell(curve: PassAtKCurve, place: int) -> str:
    mean, low, high = (100 * float(values[place]) for values in (curve.mean, curve.low, curve.high))
    interval = "" if math.isnan(low) else f" [{low:+.1f} {high:+.1f}]"
    return f"{mean:+.1f}{interval}"


def _crossover_text(difference: Difference) -> str:
    crossover = difference.crossover
    if crossover is None:
        return f"{difference.name}: no crossover"
    return (
        f"{difference.name}: crossover at k = {crossover.k:.3g} [{crossover.low:.3g} {crossover.high:.3g}], "
        f"in {100 * crossover.share:.0f} % of resamples"
    )


def _as_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "problems": comparison.problems,
        "notes": list(comparison.notes),
        "curves": {name: curve_json(curve) for name, curve in comparison.curves.items()},
        "diversity": diversity_comparison_json(comparison.diversity),
        "differences": {
            difference.name: {
                "k": curve_json(difference.curve),
                "share_above": dict(zip(map(str, difference.curve.ks), difference.above.tolist(), strict=True)),
                "crossover": _crossover_json(difference.crossover),
            }
            for difference in comparison.differences
        },
    }


def _crossover_json(crossover: Crossover | None) -> dict[str, Any] | None:
    if crossover is None:
        return None
    return {
        "k": crossover.k,
        "ci95": None if math.isnan(crossover.low) else [crossover.low, crossover.high],
        "share": crossover.share,
    }


def _plot(comparisons: Sequence[Comparison], file: Path) -> None:
    """A column per suite: the curves above, the differences below."""
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
        figure.savefig(file, dpi=150)
        plt.close(figure)


def _panels(above: Any, below: Any, comparison: Comparison) -> None:
    colours = dict(zip(comparison.curves, COLOURS * len(comparison.curves), strict=False))
    for name, curve in comparison.curves.items():
        _band(above, curve, colours[name], name)
    for difference in comparison.differences:
        _band(below, difference.curve, colours[difference.name], difference.name)
    ks = next(iter(comparison.curves.values())).ks
    for axis in (above, below):
        style_k_axis(axis, ks)
    above.set_ylim(0, 103)
    above.set_ylabel("pass@k in %, with 95 % interval")
    above.set_title(visible(f"{comparison.suite}, {comparison.problems} problems"))
    above.legend(loc="lower right", fontsize=9)
    below.axhline(0, color="black", lw=1)
    below.set_ylabel(visible(f"minus {next(iter(comparison.curves))},") + "\npaired by problem")


def _band(axis: Any, curve: PassAtKCurve, colour: str, label: str) -> None:
    ks = np.array(curve.ks)
    axis.fill_between(ks, 100 * curve.low, 100 * curve.high, color=colour, alpha=0.15, lw=0)
    axis.plot(ks, 100 * curve.mean, color=colour, lw=2, marker="o", ms=4, label=visible(label))
