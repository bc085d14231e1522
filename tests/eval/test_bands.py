"""A model does not differ from itself: intervals, bands and crossovers of differences that are noise alone."""

import itertools

import numpy as np
import pytest
from scipy import stats

from aepo_rllib.eval.passk import pass_at_k_table, powers_of_two
from aepo_rllib.eval.reports.bands import beyond_noise, joint_level
from aepo_rllib.eval.reports.crossovers import find_crossover
from aepo_rllib.eval.reports.differences import difference_of

N, PROBLEMS, PAIRS = 64, 96, 200
KS = powers_of_two(N)
TABLE = pass_at_k_table(N, np.arange(N + 1), KS)


def differences(second, seed, pairs=PAIRS):
    """Of pairs of evaluations; pass rates of the second model are a function of those of the first."""
    rng = np.random.default_rng(seed)
    for number in range(pairs):
        rates = rng.beta(0.45, 0.6, PROBLEMS)
        one, other = rng.binomial(N, rates), rng.binomial(N, second(rates))
        yield difference_of("", TABLE[other] - TABLE[one], KS, 200, number)


def test_a_model_does_not_differ_from_itself():
    """The long version is benchmarks/compare_itself.py."""
    found = list(differences(lambda rates: rates, seed=1))
    inside = np.array([(each.curve.low <= 0) & (each.curve.high >= 0) for each in found])
    assert ((inside.mean(axis=0) >= 0.92) & (inside.mean(axis=0) <= 0.985)).all()
    assert inside.all(axis=1).mean() < 0.9  # one k or other misleads: what the band is for
    assert 0.92 <= np.mean([not each.sides.any() for each in found]) <= 0.985
    assert np.mean([each.crossover is not None for each in found]) > 0.3
    assert np.mean([each.crossover is not None and each.crossover.told for each in found]) <= 0.05


def test_a_crossover_that_is_there_is_found():
    """The second model is half as sure, and solves a few more."""
    found = [each.crossover for each in differences(lambda rates: 0.5 * rates + 0.15, seed=2, pairs=60)]
    assert np.mean([each is not None and each.told for each in found]) > 0.7


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, -0.7])
def test_the_joint_level_of_two_is_that_of_the_bivariate_normal(correlation):
    rng = np.random.default_rng(3)
    whitened = rng.standard_normal((50, 2))
    whitened -= whitened.mean(axis=0)
    whitened = whitened @ np.linalg.inv(np.linalg.cholesky(np.cov(whitened.T)).T)
    values = whitened @ np.linalg.cholesky(np.array([[1, correlation], [correlation, 1]])).T * [3, 0.1]
    level = joint_level(values, draws=200_000)
    q = stats.norm.ppf((1 + level) / 2)
    normal = stats.multivariate_normal(cov=[[1, correlation], [correlation, 1]])
    held = normal.cdf([q, q], lower_limit=[-q, -q])
    assert held == pytest.approx(0.95, abs=0.002)


def test_the_joint_level_lies_between_that_of_one_and_bonferronis():
    values = np.random.default_rng(4).standard_normal((200, 1))
    assert joint_level(np.repeat(values, 7, axis=1)) == pytest.approx(0.95, abs=0.005)
    assert joint_level(np.hstack([values, np.zeros((200, 3))])) == pytest.approx(0.95, abs=0.005)
    assert joint_level(np.ones((5, 3))) == 0.95
    independent = np.random.default_rng(5).standard_normal((20_000, 7))
    assert joint_level(independent, draws=100_000) == pytest.approx(0.95 ** (1 / 7), abs=0.001)


def test_equal_seeds_give_equal_results():
    values = np.random.default_rng(6).normal(0, 0.1, (30, 4))
    one, again = (difference_of("", values, [1, 2, 4, 8], 300, 5) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.curve[1:], again.curve[1:], strict=True))
    assert np.array_equal(one.band_low, again.band_low)
    assert one.crossover == again.crossover


def test_a_band_lies_around_its_interval_and_never_beyond_what_is_possible():
    for seed, size in itertools.product(range(5), (2, 5, 50)):
        values = np.random.default_rng(seed).choice([-1.0, 0.0, 0.3, 1.0], (size, 3))
        found = difference_of("", values, [1, 2, 4], 100)
        assert (found.band_low <= found.curve.low + 1e-12).all()
        assert (found.band_high >= found.curve.high - 1e-12).all()
        assert (found.band_low >= -1).all()
        assert (found.band_high <= 1).all()
    one = difference_of("", np.array([[0.5, 0.5]]), [1, 2], 100)
    assert np.isnan(one.band_low).all()
    assert not one.sides.any()


@pytest.mark.parametrize(
    ("sides", "told"),
    [
        ([1, 0, 0, -1], True),
        ([1, 1, 0, 0], False),
        ([0, 0, 0, -1], False),
        ([0, 0, 0, 0], False),
        ([0, 1, -1, 0], True),
    ],
)
def test_a_crossover_is_told_where_the_band_lies_on_both_sides(sides, told):
    means = np.array([2.0, 1.0, -1.0, -2.0])
    draws = np.array([means, -means, [1.0, 1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    found = find_crossover([1, 2, 4, 8], means, draws, np.array(sides))
    assert found.k == pytest.approx(2**1.5)
    assert found.share == 0.5  # the second goes the other way
    assert found.told is told


def test_an_end_that_rounding_has_moved_is_zero():
    low, high = np.array([1e-17, 0.1, -0.2, np.nan]), np.array([0.3, 0.2, -0.1, np.nan])
    assert beyond_noise(low, high, 10).tolist() == [0, 1, -1, 0]
