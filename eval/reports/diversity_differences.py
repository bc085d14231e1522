"""The diversity of evaluations side by side, problem by problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aepo_rllib.eval.diversity import MEASURES
from aepo_rllib.eval.passk import PassAtKCurve, curve_over_problems
from aepo_rllib.eval.reports.evaluations import Evaluation


@dataclass(frozen=True)
class DiversityDifference:
    """All evaluations by one measure of `MEASURES`.

    Attributes:
        measure: Its name.
        curves: Means of every evaluation, by name, the first one first.
        differences: Of every other one from the first, paired by problem.
    """

    measure: str
    curves: Mapping[str, PassAtKCurve]
    differences: Mapping[str, PassAtKCurve]


def without_tallies(suite: str, evaluations: Sequence[Evaluation]) -> list[str]:
    """Names of the evaluations whose reports are too old to tell how often each answer and path was given."""
    return [each.name for each in evaluations if each.tallies[suite].keys() != each.counts[suite].keys()]


def compare_diversity(
    suite: str, evaluations: Sequence[Evaluation], ids: Sequence[str], ks: Sequence[int]
) -> list[DiversityDifference]:
    """Every measure; none where an evaluation cannot tell.

    Args:
        suite: Which all of them have.
        evaluations: The first is what the others are compared with.
        ids: Its problems.
        ks: Values of k that all of them have samples for.
    """
    if without_tallies(suite, evaluations):
        return []
    first, *others = (each.name for each in evaluations)
    found = []
    for name, measure in MEASURES.items():
        tallies = {each.name: [each.tallies[suite][identifier] for identifier in ids] for each in evaluations}
        tables = {who: measure.table(of_problems, ks) for who, of_problems in tallies.items()}
        columns = measure.ks(ks)
        low, high = measure.bounds([tally for of_problems in tallies.values() for tally in of_problems], ks)
        found.append(
            DiversityDifference(
                measure=name,
                curves={who: curve_over_problems(t, columns, bounds=(low, high)) for who, t in tables.items()},
                differences={
                    who: curve_over_problems(tables[who] - tables[first], columns, bounds=(low - high, high - low))
                    for who in others
                },
            )
        )
    return found
