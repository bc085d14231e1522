from fractions import Fraction
from itertools import combinations, product
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aepo_rllib.eval.passk import (
    bootstrap_means,
    curve_over_problems,
    macro_average,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_table,
    powers_of_two,
    without_noise,
)


def exact(n, c, k):
    """1 - prod over i of (n - c - i) / (n - i), in fractions: another way to the same number."""
    miss = Fraction(1)
    for i in range(k):
        miss *= Fraction(max(n - c - i, 0), n - i)
    return 1 - miss


def test_equals_exact_fractions_for_all_n_up_to_64():
    for n in range(1, 65):
        for c in range(n + 1):
            for k in (*powers_of_two(n), n):
                assert pass_at_k(n, c, k) == float(exact(n, c, k)), (n, c, k)


def test_equals_the_share_of_subsets_with_a_correct_sample():
    for n in range(1, 9):
        for c in range(n + 1):
            for k in range(1, n + 1):
                hits = sum(min(subset) < c for subset in combinations(range(n), k))
                assert pass_at_k(n, c, k) == pytest.approx(hits / comb(n, k), abs=1e-15)


def test_is_unbiased_for_binomial_counts():
    n, p = 12, 0.3
    for k in (1, 3, 12):
        expected = sum(comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
        assert expected == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_is_stable_for_thousands_of_samples():
    n = 4096
    for c in (0, 1, 2, 100, 2048, 4095, 4096):
        for k in powers_of_two(n):
            assert pass_at_k(n, c, k) == pytest.approx(float(exact(n, c, k)), rel=1e-14, abs=0)
    assert pass_at_k(n, 1, 1024) == 0.25


def test_grows_with_k_and_c_and_starts_at_the_mean_accuracy():
    values_CK = np.array([[pass_at_k(40, c, k) for k in range(1, 41)] for c in range(41)])
    assert (np.diff(values_CK, axis=0) >= 0).all()
    assert (np.diff(values_CK, axis=1) >= 0).all()
    np.testing.assert_allclose(values_CK[:, 0], np.arange(41) / 40)


@pytest.mark.parametrize(("n", "c", "k"), [(8, 1, 9), (8, 1, 0), (0, 0, 1), (8, 9, 1), (8, -1, 1)])
def test_refuses_what_is_undefined(n, c, k):
    with pytest.raises(ValueError, match=r"k <= n|impossible"):
        pass_at_k(n, c, k)


def test_powers_of_two():
    assert powers_of_two(1) == (1,)
    assert powers_of_two(64) == (1, 2, 4, 8, 16, 32, 64)
    assert powers_of_two(100)[-1] == 64
    assert powers_of_two(0) == ()


def test_curve_averages_over_problems():
    curve = pass_at_k_curve(4, [0, 4, 1], [1, 2, 4])
    np.testing.assert_allclose(curve.mean, [(0 + 1 + 1 / 4) / 3, (0 + 1 + 1 / 2) / 3, 2 / 3])
    np.testing.assert_allclose(curve.se[2], np.std([0, 1, 1], ddof=1) / sqrt(3))


def test_with_many_problems_the_interval_is_that_of_the_bootstrap():
    values_PK = pass_at_k_table(64, np.random.default_rng(3).binomial(64, 0.3, size=400), [1, 4])
    curve = curve_over_problems(values_PK, [1, 4])
    sample = (values_PK,)
    peer = stats.bootstrap(sample, np.mean, method="BCa", n_resamples=4000, rng=np.random.default_rng(0))
    np.testing.assert_allclose(curve.low, peer.confidence_interval.low, atol=0.001)
    np.testing.assert_allclose(curve.high, peer.confidence_interval.high, atol=0.001)


def wilson(k, n, quantile):
    """The roots of (k/n - p)^2 = q^2 p (1 - p) / n."""
    q2 = quantile**2 / n
    return np.sort(np.roots([1 + q2, -(2 * k / n + q2), (k / n) ** 2]).real)


@pytest.mark.parametrize(("solved", "problems"), [(0, 5), (5, 5), (1, 7), (9, 10), (30, 100)])
def test_where_every_problem_is_solved_or_not_the_interval_is_wilsons(solved, problems):
    """With one problem less and Student's quantile, since the spread is estimated."""
    curve = pass_at_k_curve(4, [4] * solved + [0] * (problems - solved), [1])
    low, high = wilson(solved * (problems - 1) / problems, problems - 1, stats.t.ppf(0.975, problems - 1))
    assert (curve.low[0], curve.high[0]) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (0.5, 4.5)])
@pytest.mark.parametrize("problems", [5, 12, 60])
@pytest.mark.parametrize("k", [1, 16])
def test_interval_covers_the_truth_as_often_as_it_says(k, problems, a, b):
    """As benchmarks/coverage.py does, for a few of its rows; the percentile bootstrap is at 0.27 to 0.92 for 5."""
    rng = np.random.default_rng(0)
    i = np.arange(k)
    truth = 1 - np.prod((b + i) / (a + b + i))  # of pass@k over a beta distribution
    trials = 300
    counts = rng.binomial(16, rng.beta(a, b, size=(problems, trials)))
    curve = curve_over_problems(pass_at_k_table(16, counts.ravel(), [k]).reshape(problems, trials), range(trials))
    covered = np.mean((curve.low <= truth) & (truth <= curve.high))
    assert covered >= 0.91
    assert problems < 60 or covered <= 0.99


@pytest.mark.parametrize("k", [1, 4, 16])
def test_the_interval_of_a_macro_average_covers_it_though_a_small_suite_may_be_solved_as_a_whole(k):
    rng, sizes, trials = np.random.default_rng(0), (5, 12, 100), 300
    tables = [
        pass_at_k_table(16, rng.binomial(16, rng.uniform(size=size * trials)), [k]).reshape(size, trials)
        for size in sizes
    ]
    macro = macro_average(tables, range(trials))
    truth = k / (k + 1)  # 1 - E[(1 - p)^k]
    assert 0.91 <= np.mean((macro.low <= truth) & (truth <= macro.high)) <= 0.99
    assert (macro.low >= 0).all()
    assert (macro.high <= 1).all()


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_an_interval_holds_the_mean_and_stays_within_the_bounds(values):
    differences = np.array(values)[:, None]
    for values_PK, bounds in ((differences, (-1.0, 1.0)), (np.abs(differences), (0.0, 1.0))):
        curve = curve_over_problems(values_PK, [1], bounds=bounds)
        mean = np.clip(curve.mean[0], *bounds)
        assert bounds[0] <= curve.low[0] <= mean + 1e-15
        assert mean - 1e-15 <= curve.high[0] <= bounds[1]
        assert curve.low[0] < curve.high[0]


def test_equal_differences_that_were_rounded_apart_have_no_spread():
    same = np.array([0.3 - 0.2, 0.1, 0.7 - 0.6, 0.9 - 0.8])[:, None]
    exact = curve_over_problems(np.full((4, 1), 0.1), [1], bounds=(-1.0, 1.0))
    np.testing.assert_allclose(curve_over_problems(same, [1], bounds=(-1.0, 1.0))[1:], exact[1:], atol=1e-15)


def chance_of_a_gain(values):
    """Exact: over all ways to draw as many of these values, in fractions."""
    draws = [sum(drawn) for drawn in product([Fraction(value) for value in values], repeat=len(values))]
    return sum(total > 0 for total in draws) / len(draws)


@pytest.mark.parametrize(
    "tenths",
    [(1, -1, 0, 0), (1, 1, -1, -1), (3, -1, -2, 0, 0), (3, -1, -1, -1), (7, -6, -1, 1, -1), (1, 2, 3, -3, -2, -1)],
)
def test_a_tie_is_no_gain(tenths):
    """Resampled means against all resamples there are; the values are rounded as differences of pass@k are."""
    values_PK = np.array([(value + 10) / 10 - 1 for value in tenths])[:, None]
    above = (bootstrap_means(values_PK, 20_000, seed=0) > 0).mean()
    assert above == pytest.approx(chance_of_a_gain(tenths), abs=4 * sqrt(0.25 / 20_000))


@given(st.lists(st.integers(-64, 64), min_size=1, max_size=200), st.integers(2, 1000))
def test_without_noise_ties_are_0_and_nothing_else_is(numerators, n):
    """Against exact sums; the two sides of every difference are rounded, and the difference again."""
    values = np.array([(max(x, 0) / n) - (max(-x, 0) / n) for x in numerators] + [-sum(numerators) / n])
    for chosen, exact in ((values, 0), (values[:-1], sum(numerators))):
        if len(chosen) and np.abs(chosen).max() <= 1:
            assert np.sign(without_noise(chosen.mean(), len(chosen))) == np.sign(exact)


def test_spread_of_a_single_problem_is_undefined():
    curve = pass_at_k_curve(4, [2], [1])
    assert curve.mean[0] == 0.5
    assert np.isnan([curve.se[0], curve.low[0], curve.high[0]]).all()


def test_curve_refuses_no_problems_and_k_above_n():
    with pytest.raises(ValueError, match="no problems"):
        pass_at_k_curve(4, [], [1])
    with pytest.raises(ValueError, match="pass@8"):
        pass_at_k_curve(4, [1, 2], [8])


def test_macro_average_counts_every_suite_the_same():
    few, many = pass_at_k_table(4, [0, 4], [1, 2]), pass_at_k_table(4, [4] * 40 + [1] * 10, [1, 2])
    macro = macro_average([few, many], [1, 2])
    np.testing.assert_allclose(macro.mean, [(few.mean(0) + many.mean(0)) / 2][0])
    se = [np.std(table, axis=0, ddof=1) / sqrt(len(table)) for table in (few, many)]
    np.testing.assert_allclose(macro.se, np.sqrt(se[0] ** 2 + se[1] ** 2) / 2)
    assert (macro.low <= macro.mean).all()
    assert (macro.mean <= macro.high).all()


def test_a_suite_of_one_problem_leaves_the_macro_intervals_undefined():
    macro = macro_average([np.array([[0.3]]), np.full((50, 1), 0.5)], [1])
    assert macro.mean[0] == 0.4
    assert np.isnan([macro.se[0], macro.low[0], macro.high[0]]).all()


def test_a_problem_with_fewer_than_k_samples_is_nan_and_so_is_the_mean():
    table = pass_at_k_table([8, 4], [2, 1], [4, 8])
    assert table[0].tolist() == [pass_at_k(8, 2, 4), 1.0]
    assert table[1][0] == 1.0
    assert np.isnan(table[1][1])
    curve = pass_at_k_curve([8, 4], [2, 1], [4, 8])
    assert not np.isnan(curve.mean[0])
    assert np.isnan([curve.mean[1], curve.se[1], curve.low[1], curve.high[1]]).all()
