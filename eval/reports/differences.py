"""Evaluations side by side, problem by problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aepo_rllib.eval.passk import RESAMPLES, PassAtKCurve, bootstrap_means, curve_over_problems, without_noise
from aepo_rllib.eval.reports.diversity_differences import DiversityDifference, compare_diversity, without_tallies
from aepo_rllib.eval.reports.evaluations import Evaluation

SAME = ("temperature", "top_p", "max_gen_toks")
"""Settings whose difference is worth a word: they move scores."""


@dataclass(frozen=True)
class Crossover:
    """Where the sign of a difference changes for good.

    Attributes:
        k: Interpolated on a logarithmic axis.
        low: Lower end of the 95 % interval, over those resamples of the problems that have a crossover.
        high: Upper end of it.
        share: Share of the resamples that have one.
    """

    k: float
    low: float
    high: float
    share: float


@dataclass(frozen=True)
class Difference:
    """One evaluation minus the first, paired by problem.

    Attributes:
        name: Of the evaluation.
        curve: Difference of pass@k with its interval.
        above: Share of resamples with a positive difference, by k; a tie is none.
        crossover: None where the sign does not change, or changes back.
    """

    name: str
    curve: PassAtKCurve
    above: np.ndarray
    crossover: Crossover | None


@dataclass(frozen=True)
class Comparison:
    """All evaluations on one suite.

    Attributes:
        suite: Its name.
        problems: Number of problems.
        curves: pass@k of every evaluation, by name, the first one first.
        differences: Of every other one.
        diversity: By every measure of it; none where a report is too old to tell.
        notes: What was not the same.
    """

    suite: str
    problems: int
    curves: Mapping[str, PassAtKCurve]
    differences: Sequence[Difference]
    diversity: Sequence[DiversityDifference]
    notes: Sequence[str]


def compare(
    evaluations: Sequence[Evaluation], *, ks: Sequence[int] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> list[Comparison]:
    """Compare evaluations on every suite that all of them have.

    Differences are paired, problem by problem, so that the spread between hard and easy ones cancels. Shares of gains
    and crossovers come from a bootstrap, each resample of which draws the same problems for both sides.

    Args:
        evaluations: The first is what the others are compared with.
        ks: Values of k; default those that all of them report.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.

    Raises:
        ValueError: fewer than two, no common suite, other versions or problems of a suite, or a k that one lacks
            samples for.
    """
    if len(evaluations) < 2:
        raise ValueError("a comparison needs two evaluations")
    suites = [suite for suite in evaluations[0].counts if all(suite in other.counts for other in evaluations)]
    if not suites:
        raise ValueError(
            "no suite is in all of them: "
            + "; ".join(f"{evaluation.name} has {', '.join(evaluation.counts)}" for evaluation in evaluations)
        )
    return [_compare_suite(suite, evaluations, ks, resamples, seed) for suite in suites]


def crossover(ks: Sequence[int], differences_K: np.ndarray) -> float | None:
    """The k beyond which the difference has the other sign than at the smallest k, or None.

    None too where a difference is undefined, or the sign changes more than once. Ties (exactly 0, see `without_noise`)
    at either end do not count: at large k both sides may solve everything.
    """
    signs_K = np.sign(differences_K)
    differing = np.flatnonzero(signs_K)
    if np.isnan(differences_K).any() or not len(differing):
        return None
    first_sign = signs_K[differing[0]]
    others = [int(place) for place in differing if signs_K[place] != first_sign]
    if not others or any(signs_K[place] == first_sign for place in differing if place > others[0]):
        return None
    after = others[0]
    before = max(int(place) for place in differing if place < after)
    weight = differences_K[before] / (differences_K[before] - differences_K[after])
    return float(2 ** ((1 - weight) * math.log2(ks[before]) + weight * math.log2(ks[after])))


def _compare_suite(
    suite: str, evaluations: Sequence[Evaluation], ks: Sequence[int] | None, resamples: int, seed: int
) -> Comparison:
    first, *others = evaluations
    ids = list(first.counts[suite])
    notes = []
    for other in others:
        _check_same_problems(suite, first, other)
        notes += _differing_settings(suite, first, other)
    smallest = _fewest_samples(suite, evaluations)
    reported = [set(map(int, evaluation.summary["suites"][suite]["k"])) for evaluation in evaluations]
    shared = [k for k in set.intersection(*reported) if k <= smallest.n]
    wanted = sorted(ks or shared)
    if not wanted:
        raise ValueError(
            f"{suite}: they share no k up to {smallest.n}, the samples of {smallest}; choose some with --k"
        )
    if max(wanted) > smallest.n or min(wanted) < 1:
        raise ValueError(f"{suite}: every k must be in 1..{smallest.n}, the samples of {smallest}; got {wanted}")
    silent = without_tallies(suite, evaluations)
    if len(silent) < len(evaluations):
        notes += [f"no diversity in the reports of {name}: `aepo regrade` adds it" for name in silent]
    tables = {evaluation.name: evaluation.table(suite, ids, wanted) for evaluation in evaluations}
    return Comparison(
        suite=suite,
        problems=len(ids),
        curves={name: curve_over_problems(t, wanted) for name, t in tables.items()},
        differences=[
            _difference(other.name, tables[other.name] - tables[first.name], wanted, resamples, seed)
            for other in others
        ],
        diversity=compare_diversity(suite, evaluations, ids, wanted),
        notes=notes,
    )


def _difference(name: str, values_PK: np.ndarray, ks: Sequence[int], resamples: int, seed: int) -> Difference:
    curve = curve_over_problems(values_PK, ks, bounds=(-1.0, 1.0))
    draws_RK = bootstrap_means(values_PK, resamples, seed)
    place = crossover(ks, without_noise(curve.mean, len(values_PK)))
    found = [k for draw_K in draws_RK if (k := crossover(ks, draw_K)) is not None] if place is not None else []
    low, high = np.quantile(found, [0.025, 0.975]) if found else (math.nan, math.nan)
    return Difference(
        name=name,
        curve=curve,
        above=(draws_RK > 0).mean(axis=0),
        crossover=None if place is None else Crossover(place, float(low), float(high), len(found) / len(draws_RK)),
    )


class _Fewest(NamedTuple):
    """The problem with the fewest samples."""

    n: int
    problem: str
    evaluation: str

    def __str__(self) -> str:
        return f"problem {self.problem!r} in {self.evaluation}"


def _fewest_samples(suite: str, evaluations: Sequence[Evaluation]) -> _Fewest:
    """Where pass@k stops to be defined.

    Raises:
        ValueError: a problem has no samples at all.
    """
    fewest = min(
        _Fewest(n, problem, evaluation.name)
        for evaluation in evaluations
        for problem, (n, _) in evaluation.counts[suite].items()
    )
    if not fewest.n:
        raise ValueError(f"{suite}: {fewest} has no samples; the same `aepo eval` draws them")
    return fewest


def _check_same_problems(suite: str, first: Evaluation, other: Evaluation) -> None:
    versions = [evaluation.summary["suites"][suite]["version"] for evaluation in (first, other)]
    rules = [evaluation.summary.get("grading_rules", 1) for evaluation in (first, other)]
    for what, values in (("version", versions), ("grading rules", rules)):
        if values[0] != values[1]:
            raise ValueError(
                f"{suite}: {what} {values[0]} in {first.name}, {values[1]} in {other.name}; `aepo regrade` judges "
                "stored samples anew"
            )
    for here, there in ((first, other), (other, first)):
        if alone := [problem for problem in here.counts[suite] if problem not in there.counts[suite]]:
            raise ValueError(
                f"{suite}: {first.name} and {other.name} hold different problems: {len(alone)} are in {here.name} "
                f"only, such as {alone[0]!r}"
            )
    digests = [evaluation.summary["evaluation"]["problems"][suite] for evaluation in (first, other)]
    if digests[0] != digests[1]:
        theirs = other.digests[suite]
        changed = [problem for problem, digest in first.digests[suite].items() if digest != theirs[problem]]
        such = f", such as {changed[0]!r}" if changed else ""
        raise ValueError(
            f"{suite}: problems of {first.name} and {other.name} have the same ids but other contents{such}"
        )


def _differing_settings(suite: str, first: Evaluation, other: Evaluation) -> list[str]:
    suites = [evaluation.summary["suites"][suite] for evaluation in (first, other)]
    plans = [evaluation.summary["evaluation"] for evaluation in (first, other)]
    pairs = [(name, suites[0].get(name), suites[1].get(name)) for name in SAME]
    pairs += [(name, plans[0][name], plans[1][name]) for name in ("template", "grader")]
    judges = [", ".join(one.get("judged_by", ())) for one in suites]
    if all(judges):  # older reports do not say
        pairs.append(("judged by", judges[0], judges[1]))
    return [
        f"{name}: {mine} in {first.name}, {theirs} in {other.name}" for name, mine, theirs in pairs if mine != theirs
    ]
