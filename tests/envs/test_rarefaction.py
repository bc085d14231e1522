"""Estimates of diversity against all subsets, all outcomes, and closed forms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from scipy import stats

from aepo_rllib.envs.rarefaction import distinct_among, entropy, harmonic, plug_in_entropy

LAWS = {
    "one thing": [1.0],
    "two alike": [0.5, 0.5],
    "three alike": [1 / 3] * 3,
    "skewed": [0.9, 0.1],
    "more skewed": [0.97, 0.02, 0.01],
}


def partitions(total: int, largest: int | None = None) -> list[tuple[int, ...]]:
    """All ways to write a number as a sum of smaller ones."""
    if not total:
        return [()]
    return [
        (first, *rest)
        for first in range(min(total, largest or total), 0, -1)
        for rest in partitions(total - first, first)
    ]


def expected(estimate: Callable[[Sequence[int]], float], law: Sequence[float], draws: int) -> float:
    """The mean of an estimate over every outcome of so many draws from a law."""
    return sum(
        math.prod(law[thing] for thing in outcome) * estimate(list(Counter(outcome).values()))
        for outcome in product(range(len(law)), repeat=draws)
    )


def true_entropy(law: Sequence[float]) -> float:
    return -sum(p * math.log(p) for p in law)


def miller_madow(counts: Sequence[int]) -> float:
    return plug_in_entropy(counts) + (len(counts) - 1) / (2 * sum(counts))


@pytest.mark.parametrize("n", range(1, 8))
def test_distinct_things_are_those_of_all_subsets(n: int) -> None:
    """In exact fractions, for all ways in which n draws can be alike, and with draws that hold nothing."""
    for drawn in range(n + 1):
        for counts in partitions(drawn):
            things = [thing for thing, count in enumerate(counts) for _ in range(count)] + [-1] * (n - drawn)
            for k in range(1, n + 1):
                subsets = list(combinations(things, k))
                mean = Fraction(sum(len(set(subset) - {-1}) for subset in subsets), len(subsets))
                assert distinct_among(k, n, counts) == float(mean), (counts, k)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_distinct_things_are_estimated_without_bias(law: list[float], k: int) -> None:
    """m things alike: m (1 - (1 - 1/m)^k), and likewise for others."""
    truth = sum(1 - (1 - p) ** k for p in law)
    assert expected(lambda counts: distinct_among(k, 5, counts), law, 5) == pytest.approx(truth, abs=1e-12)


def test_thousands_of_draws_are_counted_exactly() -> None:
    assert distinct_among(1024, 4096, [1] * 4096) == 1024
    assert distinct_among(1024, 4096, [1]) == 0.25
    assert distinct_among(4096, 4096, [4000, 90, 6]) == 3


@pytest.mark.parametrize(("k", "n", "counts"), [(0, 3, [1]), (4, 3, [1]), (1, 0, []), (1, 3, [2, 2])])
def test_what_no_draws_can_be_is_refused(k: int, n: int, counts: list[int]) -> None:
    with pytest.raises(ValueError, match="draws"):
        distinct_among(k, n, counts)


@pytest.mark.parametrize("m", [1, 2, 5, 64])
def test_shares_that_are_alike_have_the_entropy_of_their_number(m: int) -> None:
    assert plug_in_entropy([3] * m) == pytest.approx(math.log(m), abs=1e-15)
    assert plug_in_entropy([3] * m) == pytest.approx(stats.entropy([3] * m), abs=1e-15)


@pytest.mark.parametrize("draws", [2, 4, 6])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_the_estimate_of_entropy_lacks_the_rest_of_its_series_and_nothing_else(law: list[float], draws: int) -> None:
    first = sum(sum(p * (1 - p) ** v for p in law) / v for v in range(1, draws))
    assert expected(entropy, law, draws) == pytest.approx(first, abs=1e-12)
    # Which leaves less of a bias than the shares have, or Miller and Madow's correction of them.
    bias = {name: expected(f, law, draws) - true_entropy(law) for name, f in ESTIMATORS.items()}
    assert bias["plug-in"] - 1e-12 <= bias["Zhang"] <= 1e-12
    assert draws < 4 or abs(bias["Zhang"]) <= abs(bias["Miller-Madow"]) + 1e-12


ESTIMATORS = {"plug-in": plug_in_entropy, "Miller-Madow": miller_madow, "Zhang": entropy}


def test_the_estimate_of_entropy_is_the_slope_of_the_curve_of_distinct_things() -> None:
    for counts in partitions(7):
        curve = [distinct_among(k, 7, counts) for k in range(1, 8)]
        slope = sum((after - before) / k for k, (before, after) in enumerate(pairwise(curve), 1))
        assert entropy(counts) == pytest.approx(slope, abs=1e-12)


def test_many_draws_have_the_entropy_of_their_law() -> None:
    rng, law = np.random.default_rng(0), np.array([0.4, 0.2, 0.2, 0.1, 0.05, 0.05])
    found = [entropy([int(count) for count in draw if count]) for draw in rng.multinomial(64, law, size=2000)]
    spread = np.std(found) / math.sqrt(len(found))
    assert np.mean(found) == pytest.approx(true_entropy(law.tolist()), abs=4 * spread)


def test_draws_that_are_all_alike_have_no_entropy_and_draws_that_all_differ_the_most() -> None:
    for n in (1, 2, 16, 1024):
        assert entropy([n]) == plug_in_entropy([n]) == 0
        assert entropy([1] * n) == pytest.approx(harmonic(n - 1))
    assert entropy([]) == plug_in_entropy([]) == 0
