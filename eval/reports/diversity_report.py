"""How diverse samples are, as JSON and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group

from aepo_rllib.envs.tally import Tally
from aepo_rllib.eval.diversity import MEASURES, PATH_DIVERSITY, Measure, path_diversity
from aepo_rllib.eval.passk import PassAtKCurve, macro_average
from aepo_rllib.eval.reports.curves import curve_json
from aepo_rllib.eval.reports.diversity_differences import DiversityDifference
from aepo_rllib.eval.reports.table import plain_table, titled
from aepo_rllib.support.terminal import visible

HEADS = {"answers": "answers", "correct_answers": "correct\nanswers", "correct_paths": "correct\npaths"}
"""What the columns of the table are called, by measure."""


def diversity_json(tallies: Sequence[Tally], ks: Sequence[int]) -> dict[str, Any]:
    """Every measure of `MEASURES` by name: its mean, standard error and 95 % interval, by k where it has one at each.

    With `PATH_DIVERSITY`, over so many `problems` as have two correct samples; None where none has.
    """
    pairs = path_diversity(tallies)
    found = {name: _json(measure, measure.curve(tallies, ks)) for name, measure in MEASURES.items()}
    return found | {PATH_DIVERSITY: pairs and {"problems": pairs[0], **_point(pairs[1])}}


def macro_diversity_json(tallies_SP: Sequence[Sequence[Tally]], ks: Sequence[int]) -> dict[str, Any]:
    """The same of a group: macro averages over its suites, but for `PATH_DIVERSITY`."""
    return {
        name: _json(
            measure,
            macro_average(
                [measure.table(tallies, ks) for tallies in tallies_SP],
                measure.ks(ks),
                bounds_S=[measure.bounds(tallies, ks) for tallies in tallies_SP],
            ),
        )
        for name, measure in MEASURES.items()
    }


def diversity_table(suite: str, scores: Mapping[str, Any]) -> Group:
    """A suite's diversity: a row per k, a column per measure that has a value at each."""
    diversity = scores["diversity"]
    table = plain_table()
    table.add_column("\nk", justify="right")
    for head in HEADS.values():
        table.add_column(head, justify="right")
    for k in scores["k"]:
        table.add_row(k, *(_cell(diversity[name][k]) for name in HEADS))
    title = f"{suite}: how many are different among k samples [95 % interval over problems]"
    return titled(title, table, _caption(diversity))


def diversity_comparison_json(diversity: Sequence[DiversityDifference]) -> dict[str, Any] | None:
    """By measure: means of every evaluation, and differences from the first; None where there are no measures."""
    return {
        each.measure: {
            "curves": {name: _json(MEASURES[each.measure], curve) for name, curve in each.curves.items()},
            "differences": {name: _json(MEASURES[each.measure], curve) for name, curve in each.differences.items()},
        }
        for each in diversity
    } or None


def diversity_comparison_table(suite: str, diversity: Sequence[DiversityDifference]) -> Group:
    """Paths to correct answers among k samples, a row per k, and the entropy of answers: means and differences."""
    found = {each.measure: each for each in diversity}
    paths, entropies = found["correct_paths"], found["answer_entropy"]
    first, *_ = paths.curves
    table = plain_table()
    table.add_column("", no_wrap=True)
    for name in (*paths.curves, *(f"{name} - {first}" for name in paths.differences)):
        table.add_column(visible(name), justify="right")
    for place, k in enumerate(curve_json(paths.curves[first])):
        table.add_row(f"paths@{k}", *_row(paths, place))
    table.add_row("answer entropy", *_row(entropies, 0))
    title = f"{suite}: different correct paths among k samples, entropy of answers in nats, and difference"
    return titled(title, table, "intervals of 95 %, paired by problem")


def _row(difference: DiversityDifference, place: int) -> list[str]:
    means = [f"{curve.mean[place]:.2f}" for curve in difference.curves.values()]
    return means + [_signed(curve, place) for curve in difference.differences.values()]


def _signed(curve: PassAtKCurve, place: int) -> str:
    mean, low, high = (float(values[place]) for values in (curve.mean, curve.low, curve.high))
    return f"{mean:+.2f}" + ("" if math.isnan(low) else f" [{low:+.2f} {high:+.2f}]")


def _json(measure: Measure, curve: PassAtKCurve) -> dict[str, Any]:
    return _point(curve) if measure.one else curve_json(curve)


def _point(curve: PassAtKCurve) -> dict[str, Any]:
    (point,) = curve_json(curve).values()
    return dict(point)


def _caption(diversity: Mapping[str, Any]) -> str:
    estimate, shares = (_cell(diversity[name]) for name in ("answer_entropy", "answer_entropy_plug_in"))
    notes = [f"entropy of the answers to a problem {estimate} nats ({shares} in the samples)"]
    if (pairs := diversity[PATH_DIVERSITY]) is not None:
        differing = f"{_cell(pairs)} of the pairs of correct samples differ in their paths"
        notes.append(f"{differing} ({pairs['problems']} problems)")
    return "; ".join(notes)


def _cell(point: Mapping[str, Any]) -> str:
    if point["mean"] is None:
        return "undefined"
    interval = "" if point["ci95"] is None else " [{:.2f}-{:.2f}]".format(*point["ci95"])
    return f"{point['mean']:.2f}{interval}"
