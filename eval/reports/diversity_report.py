"""How diverse samples are, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aepo_rllib.envs.tally import Tally
from aepo_rllib.eval.diversity import MEASURES, PATH_DIVERSITY, Measure, path_diversity
from aepo_rllib.eval.passk import PassAtKCurve, macro_average
from aepo_rllib.eval.reports.curves import curve_json
from aepo_rllib.eval.reports.diversity_differences import DiversityDifference
from aepo_rllib.eval.reports.sheet import Column, Row, Score, Sheet, at

HEADS = {"answers": "answers", "correct_answers": "correct answers", "correct_paths": "correct paths"}
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


def diversity_sheet(suite: str, scores: Mapping[str, Any]) -> Sheet:
    """A suite's diversity: a row per k, a column per measure that has a value at each."""
    diversity = scores["diversity"]
    return Sheet(
        suite=suite,
        part="",
        title=f"{suite}: how many are different among k samples [95 % interval over problems]",
        names=list(HEADS.values()),
        columns=[Column(place) for place in range(len(HEADS))],
        rows=[Row(f"distinct@{k}", [_score(diversity[name][k]) for name in HEADS], "", 2) for k in scores["k"]],
        notes=_notes(diversity),
    )


def diversity_comparison_json(diversity: Sequence[DiversityDifference]) -> dict[str, Any] | None:
    """By measure: means of every evaluation, and differences from the first; None where there are no measures."""
    return {
        each.measure: {
            "curves": {name: _json(MEASURES[each.measure], curve) for name, curve in each.curves.items()},
            "differences": {name: _json(MEASURES[each.measure], curve) for name, curve in each.differences.items()},
        }
        for each in diversity
    } or None


def diversity_comparison_sheet(suite: str, part: str, diversity: Sequence[DiversityDifference]) -> Sheet:
    """Paths to correct answers among k samples, a row per k, and the entropy of answers: means and differences."""
    found = {each.measure: each for each in diversity}
    paths, entropies = found["correct_paths"], found["answer_entropy"]
    names = list(paths.curves)
    rows = [
        Row(f"paths@{k}", _scores(paths, place), "", 2) for place, k in enumerate(curve_json(paths.curves[names[0]]))
    ]
    of = f"{suite}, {part}" if part else suite
    return Sheet(
        suite=suite,
        part=part,
        title=f"{of}: correct paths among k samples, entropy of answers in nats",
        names=names,
        columns=[*map(Column, range(len(names))), *(Column(place, 0) for place in range(1, len(names)))],
        rows=[*rows, Row("answer entropy", _scores(entropies, 0), "nats", 2, section=1)],
        notes=["differences are paired by problem; each interval of 95 % stands for itself"],
    )


def _scores(difference: DiversityDifference, place: int) -> list[Score]:
    means = [at(curve, place, scale=1, brief=True) for curve in difference.curves.values()]
    return means + [at(curve, place, scale=1)._replace(signed=True) for curve in difference.differences.values()]


def _json(measure: Measure, curve: PassAtKCurve) -> dict[str, Any]:
    return _point(curve) if measure.one else curve_json(curve)


def _point(curve: PassAtKCurve) -> dict[str, Any]:
    (point,) = curve_json(curve).values()
    return dict(point)


def _notes(diversity: Mapping[str, Any]) -> list[str]:
    estimate, shares = (_text(diversity[name]) for name in ("answer_entropy", "answer_entropy_plug_in"))
    notes = [f"entropy of the answers to a problem {estimate} nats ({shares} in the samples)"]
    if (pairs := diversity[PATH_DIVERSITY]) is not None:
        differing = f"{_text(pairs)} of the pairs of correct samples differ in their paths"
        notes.append(f"{differing} ({pairs['problems']} problems)")
    return notes


def _score(point: Mapping[str, Any]) -> Score:
    return Score(point["mean"], *(point["ci95"] or ()))


def _text(point: Mapping[str, Any]) -> str:
    if point["mean"] is None:
        return "undefined"
    interval = "" if point["ci95"] is None else " [{:.2f}-{:.2f}]".format(*point["ci95"])
    return f"{point['mean']:.2f}{interval}"
