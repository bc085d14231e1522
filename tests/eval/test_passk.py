from fractions import Fraction
from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest

from aepo_rllib.eval.passk import macro_average, pass_at_k, pass_at_k_curve, pass_at_k_table, powers_of_two


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


def test_bootstrap_interval_agrees_with_the_standard_error():
    counts_P = np.random.default_rng(3).binomial(64, 0.3, size=400)
    curve = pass_at_k_curve(64, counts_P, [1, 4])
    np.testing.assert_allclose((curve.high - curve.low) / (2 * 1.96), curve.se, rtol=0.03)
    again = pass_at_k_curve(64, counts_P, [1, 4])
    np.testing.assert_array_equal(curve.low, again.low)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        curve = pass_at_k_curve(16, rng.binomial(16, rng.beta(1, 2, size=60)), [1], resamples=500, seed=trial)
        covered += curve.low[0] <= 1 / 3 <= curve.high[0]
    assert 0.89 <= covered / 200 <= 0.99


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
