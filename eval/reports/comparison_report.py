"""A comparison as tables and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aepo_rllib.eval.passk import FEW_PROBLEMS, FEW_PROBLEMS_NOTE
from aepo_rllib.eval.reports.comparison_plot import plot_comparisons
from aepo_rllib.eval.reports.crossovers import Crossover
from aepo_rllib.eval.reports.curves import curve_json, number_json
from aepo_rllib.eval.reports.differences import Comparison, Difference, Majority
from aepo_rllib.eval.reports.diversity_report import diversity_comparison_json, diversity_comparison_sheet
from aepo_rllib.eval.reports.sheet import Column, Row, Score, Sheet, at
from aepo_rllib.eval.reports.table import shown_votes
from aepo_rllib.support.locks import write_atomically

NO_CROSSOVER, NOISE = "no crossover", "no crossover that the samples can tell from noise"
STAR = "* more than noise: outside a 95 % band over all k at once"


def comparison_sheets(comparisons: Sequence[Comparison]) -> list[Sheet]:
    """Of every suite or part: pass@k and maj@k, and then what is said of diversity."""
    found = []
    for each in comparisons:
        found.append(comparison_sheet(each))
        if each.diversity:
            found.append(diversity_comparison_sheet(each.suite, each.part, each.diversity))
    return found


def comparison_sheet(comparison: Comparison) -> Sheet:
    """A row per k: pass@k of every evaluation, and differences from the first with their intervals, in percent."""
    names = list(comparison.curves)
    rows = [
        Row(
            f"pass@{k}",
            [at(curve, place, brief=True) for curve in comparison.curves.values()]
            + [at(each.curve, place, sides=each.sides) for each in comparison.differences],
        )
        for place, k in enumerate(comparison.curves[names[0]].ks)
    ]
    part = f", {comparison.part}" if comparison.part else ""
    title = f"{comparison.suite}{part}, {comparison.problems} problems: pass@k in %, paired difference [95 % interval]"
    return Sheet(
        suite=comparison.suite,
        part=comparison.part,
        title=title,
        names=names,
        columns=[*map(Column, range(len(names))), *(Column(place, 0) for place in range(1, len(names)))],
        rows=rows + (_majority_rows(comparison.majority) if comparison.majority else []),
        notes=_notes(comparison),
    )


def write_comparison(comparisons: Sequence[Comparison], folder: Path) -> None:
    """Write compare.json, compare.png and compare.svg; the picture is of whole suites.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {each.suite: _as_json(each) for each in comparisons if not each.part}
    for each in comparisons:
        if each.part:
            content[each.suite].setdefault("parts", {})[each.part] = _as_json(each)
    write_atomically(folder / "compare.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    for ending in ("png", "svg"):
        plot_comparisons([each for each in comparisons if not each.part], folder / f"compare.{ending}")


def _majority_rows(majority: Majority) -> list[Row]:
    shown = [int(k) for k in shown_votes(dict.fromkeys(map(str, majority.ks)))]
    rows = []
    for place, k in enumerate(majority.ks):
        means = [Score(100 * float(means_K[place])) for means_K in majority.means.values()]
        told = [at(each.curve, place, sides=each.sides) for each in majority.differences]
        if not told:  # older reports: no interval
            told = [Score(other.value - means[0].value, signed=True) for other in means[1:]]  # type: ignore[operator]
        rows += [Row(f"maj@{k}", means + told, section=1)] if k in shown else []
    return rows


def _notes(comparison: Comparison) -> list[str]:
    differences = [*comparison.differences, *(comparison.majority.differences if comparison.majority else ())]
    notes = [STAR] if any(each.sides.any() for each in differences) else []
    notes += [f"{each.name}: {_told(each)}" for each in comparison.differences]
    if comparison.majority and not comparison.majority.differences:
        notes.append("no intervals of maj@k: `aepo regrade` adds what they need to the older reports")
    few = [FEW_PROBLEMS_NOTE] if comparison.problems < FEW_PROBLEMS else []
    return [*notes, *comparison.notes, *few]


def _told(difference: Difference) -> str:
    found = difference.crossover
    if found is not None and found.told:
        return (
            f"crossover at k = {found.k:.3g} [{found.low:.3g} {found.high:.3g}], "
            f"in {100 * found.share:.0f} % of resamples"
        )
    text = NO_CROSSOVER if found is None else NOISE
    return text if difference.sides.any() else f"no difference beyond noise at any k; {text}"


def _as_json(comparison: Comparison) -> dict[str, Any]:
    majority = comparison.majority
    return {
        "problems": comparison.problems,
        "notes": list(comparison.notes),
        "curves": {name: curve_json(curve) for name, curve in comparison.curves.items()},
        "maj": None if majority is None else _majority_json(majority),
        "diversity": diversity_comparison_json(comparison.diversity),
        "differences": {each.name: _difference_json(each) for each in comparison.differences},
    }


def _majority_json(majority: Majority) -> dict[str, Any]:
    means = {
        name: {str(k): number_json(value) for k, value in zip(majority.ks, means_K, strict=True)}
        for name, means_K in majority.means.items()
    }
    return {"curves": means, "differences": {each.name: _points_json(each) for each in majority.differences}}


def _points_json(difference: Difference) -> dict[str, Any]:
    """By k: mean, interval, band, and on which side of 0 the band lies."""
    points = curve_json(difference.curve)
    for point, low, high, side in zip(
        points.values(), difference.band_low, difference.band_high, difference.sides, strict=True
    ):
        point |= {"band95": None if math.isnan(low) else [float(low), float(high)], "side": int(side)}
    return points


def _difference_json(difference: Difference) -> dict[str, Any]:
    found = difference.crossover
    return {
        "k": _points_json(difference),
        "share_above": dict(zip(map(str, difference.curve.ks), difference.above.tolist(), strict=True)),
        "crossover": _crossover_json(found) if found and found.told else None,
        "crossover_in_noise": _crossover_json(found) if found and not found.told else None,
    }


def _crossover_json(found: Crossover) -> dict[str, Any]:
    return {
        "k": found.k,
        "ci95": None if math.isnan(found.low) else [found.low, found.high],
        "share": found.share,
    }
