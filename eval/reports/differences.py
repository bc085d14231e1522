"""Evaluations side by side, problem by problem.

Shape suffixes: P problems, K values of k, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aepo_rllib.eval.passk import RESAMPLES, PassAtKCurve, bootstrap_means, curve_over_problems, without_noise
from aepo_rllib.eval.reports.bands import beyond_noise, joint_band
from aepo_rllib.eval.reports.crossovers import Crossover, find_crossover
from aepo_rllib.eval.reports.diversity_differences import DiversityDifference, compare_diversity, without_tallies
from aepo_rllib.eval.reports.evaluations import Evaluation
from aepo_rllib.eval.reports.pairing import check_same_problems, differing_settings, fewest_samples
from aepo_rllib.eval.reports.summary import sorted_names

DIFFERENCES = (-1.0, 1.0)
"""What no difference is below or above."""


@dataclass(frozen=True)
class Difference:
    """One evaluation minus the first, paired by problem.

    Attributes:
        name: Of the evaluation.
        curve: Difference of pass@k with its interval at each k.
        band_low: Lower ends of the 95 % band, which holds the difference at all k at once, (K,).
        band_high: Upper ends of it.
        sides: +1 where the band lies above 0, -1 where below, 0 where the difference may be noise, (K,).
        above: Share of resamples with a positive difference, by k; a tie is none.
        crossover: None where the sign does not change, or changes back.
    """

    name: str
    curve: PassAtKCurve
    band_low: np.ndarray
    band_high: np.ndarray
    sides: np.ndarray
    above: np.ndarray
    crossover: Crossover | None


@dataclass(frozen=True)
class Majority:
    """maj@k of all evaluations.

    Attributes:
        ks: Values of k.
        means: Of every evaluation, by name; nan where it is undefined.
        differences: Of every other one from the first, paired by problem; none where reports are too old for it.
    """

    ks: tuple[int, ...]
    means: Mapping[str, np.ndarray]
    differences: Sequence[Difference]


@dataclass(frozen=True)
class Comparison:
    """All evaluations on one suite, or on a part of its problems.

    Attributes:
        suite: Its name.
        part: Family or level of the problems; "" for all of them.
        problems: Number of problems.
        curves: pass@k of every evaluation, by name, the first one first.
        differences: Of every other one.
        majority: Their maj@k; None where a report does not tell.
        diversity: By every measure of it; none where a report is too old to tell.
        notes: What was not the same.
    """

    suite: str
    part: str
    problems: int
    curves: Mapping[str, PassAtKCurve]
    differences: Sequence[Difference]
    majority: Majority | None
    diversity: Sequence[DiversityDifference]
    notes: Sequence[str]


def compare(
    evaluations: Sequence[Evaluation],
    *,
    ks: Sequence[int] | None = None,
    by: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Compare evaluations on every suite that all of them have.

    Differences are paired, problem by problem, so that the spread between hard and easy ones cancels. Shares of gains
    and the place of crossovers come from a bootstrap, each resample of which draws the same problems for both sides.

    Args:
        evaluations: The first is what the others are compared with.
        ks: Values of k; default those that all of them report.
        by: "family" or "level": each suite is followed by its parts.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.

    Raises:
        ValueError: fewer than two, no common suite, other versions or problems of a suite, a k that one lacks samples
            for, or no problem that names its family or level.
    """
    if len(evaluations) < 2:
        raise ValueError("a comparison needs two evaluations")
    suites = [suite for suite in evaluations[0].counts if all(suite in other.counts for other in evaluations)]
    if not suites:
        raise ValueError(
            "no suite is in all of them: "
            + "; ".join(f"{evaluation.name} has {', '.join(evaluation.counts)}" for evaluation in evaluations)
        )
    parts = {suite: _parts(suite, evaluations, by) for suite in suites}
    if by and not any(part for of_suite in parts.values() for part in of_suite):
        raise ValueError(f"no problem of {', '.join(suites)} names its {by}; `aepo regrade` notes those that do")
    return [
        _compare(suite, part, ids, evaluations, ks, resamples, seed)
        for suite in suites
        for part, ids in parts[suite].items()
    ]


def difference_of(
    name: str, values_PK: np.ndarray, ks: Sequence[int], resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """All there is to say about a paired difference.

    Args:
        name: What it is called.
        values_PK: The difference for every problem, between -1 and 1.
        ks: Values of k.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.
    """
    problems = len(values_PK)
    curve = curve_over_problems(values_PK, ks, bounds=DIFFERENCES)
    low_K, high_K = joint_band(curve, values_PK, DIFFERENCES, seed=seed)
    sides_K = beyond_noise(low_K, high_K, problems)
    draws_RK = bootstrap_means(values_PK, resamples, seed)
    return Difference(
        name=name,
        curve=curve,
        band_low=low_K,
        band_high=high_K,
        sides=sides_K,
        above=(draws_RK > 0).mean(axis=0),
        crossover=find_crossover(ks, without_noise(curve.mean, problems), draws_RK, sides_K),
    )


def _parts(suite: str, evaluations: Sequence[Evaluation], by: str | None) -> dict[str, list[str]]:
    """Ids of the problems of every part: all of them under "", then by family or level."""
    ids = list(evaluations[0].counts[suite])
    if by is None:
        return {"": ids}
    # An older report may not tell, but they all have the same problems.
    told = [evaluation.parts[by][suite] for evaluation in evaluations]
    names = {identifier: next((own[identifier] for own in told if own.get(identifier)), "") for identifier in ids}
    return {"": ids} | {
        part: [identifier for identifier in ids if names[identifier] == part] for part in sorted_names(names.values())
    }


def _compare(
    suite: str,
    part: str,
    ids: Sequence[str],
    evaluations: Sequence[Evaluation],
    ks: Sequence[int] | None,
    resamples: int,
    seed: int,
) -> Comparison:
    first, *others = evaluations
    notes = []
    for other in others:
        check_same_problems(suite, first, other)
        notes += differing_settings(suite, first, other)
    wanted = _wanted(suite, evaluations, ks)
    silent = without_tallies(suite, evaluations)
    if len(silent) < len(evaluations):
        notes += [f"no diversity in the reports of {name}: `aepo regrade` adds it" for name in silent]
    tables = {evaluation.name: evaluation.table(suite, ids, wanted) for evaluation in evaluations}
    return Comparison(
        suite=suite,
        part=part,
        problems=len(ids),
        curves={name: curve_over_problems(t, wanted) for name, t in tables.items()},
        differences=[
            difference_of(other.name, tables[other.name] - tables[first.name], wanted, resamples, seed)
            for other in others
        ],
        majority=_majority(suite, part, ids, evaluations, wanted, resamples, seed),
        diversity=compare_diversity(suite, evaluations, ids, wanted),
        notes=[] if part else notes,
    )


def _wanted(suite: str, evaluations: Sequence[Evaluation], ks: Sequence[int] | None) -> list[int]:
    smallest = fewest_samples(suite, evaluations)
    reported = [set(map(int, evaluation.summary["suites"][suite]["k"])) for evaluation in evaluations]
    wanted = sorted(ks or [k for k in set.intersection(*reported) if k <= smallest.n])
    if not wanted:
        raise ValueError(
            f"{suite}: they share no k up to {smallest.n}, the samples of {smallest}; choose some with --k"
        )
    if max(wanted) > smallest.n or min(wanted) < 1:
        raise ValueError(f"{suite}: every k must be in 1..{smallest.n}, the samples of {smallest}; got {wanted}")
    return wanted


def _majority(
    suite: str,
    part: str,
    ids: Sequence[str],
    evaluations: Sequence[Evaluation],
    ks: Sequence[int],
    resamples: int,
    seed: int,
) -> Majority | None:
    """maj@k for those k that all have; of reports that do not tell each problem's, the means of the whole suite."""
    summaries = {each.name: each.summary["suites"][suite].get("maj", {}) for each in evaluations}
    shared = tuple(k for k in ks if all(maj.get(str(k)) is not None for maj in summaries.values()))
    tables = {each.name: each.vote_table(suite, ids, shared) for each in evaluations}
    known = {name: table for name, table in tables.items() if table is not None and not np.isnan(table).any()}
    if not shared or (part and len(known) < len(tables)):
        return None
    if len(known) < len(tables):
        return Majority(shared, {name: np.array([maj[str(k)] for k in shared]) for name, maj in summaries.items()}, [])
    first, *others = known
    return Majority(
        shared,
        {name: table.mean(axis=0) for name, table in known.items()},
        [difference_of(name, known[name] - known[first], shared, resamples, seed) for name in others],
    )
