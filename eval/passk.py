"""pass@k: the unbiased estimator, and its uncertainty over problems.

Shape suffixes: P problems, K values of k, U distinct counts, S suites, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

RESAMPLES = 10_000
FEW_PROBLEMS = 20
FEW_PROBLEMS_NOTE = f"fewer than {FEW_PROBLEMS} problems: 95 % intervals held the truth in 78-100 % of simulations"
"""Figures of benchmarks/coverage.py."""
_EPS = float(np.finfo(float).eps)
_CHUNK = 500
"""Bootstrap resamples drawn at a time, which bounds memory."""


Bounds = tuple[float | np.ndarray, float | np.ndarray]
"""What no value is below or above, everywhere or at each k."""


class PassAtKCurve(NamedTuple):
    """pass@k of a set of problems; every array is (K,), in the order of `ks`.

    Where a problem has fewer than k samples everything is nan: no mean is taken over the others. With a single problem
    the spread over problems is undefined: `se`, `low` and `high` are nan.
    """

    ks: tuple[int, ...]
    mean: np.ndarray
    """Mean over problems."""
    se: np.ndarray
    """Standard error of that mean: sample standard deviation over problems / sqrt(P)."""
    low: np.ndarray
    """Lower end of the 95 % interval over problems, see `mean_interval`."""
    high: np.ndarray
    """Upper end of it."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that at least one of k samples is correct, from n samples of which c are.

        pass@k = 1 - C(n - c, k) / C(n, k)

    It is unbiased: the share of all k-subsets of the n samples that hold a correct one. avg@n is pass@1 = c / n.
    Computed in exact integers, so the result is the nearest float for any n (below 2 ms at n = 4096).

    Source: Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, eq. 1.

    Raises:
        ValueError: k is not in 1..n (with fewer than k samples pass@k is undefined), or c not in 0..n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs 1 <= k <= n, but there are n = {n} samples")
    if not 0 <= c <= n:
        raise ValueError(f"{c} correct samples of {n} are impossible")
    subsets = math.comb(n, k)
    return (subsets - math.comb(n - c, k)) / subsets


def powers_of_two(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to n."""
    return tuple(1 << exponent for exponent in range(max(n, 0).bit_length()))


def pass_at_k_table(
    n: int | Sequence[int] | np.ndarray, counts_P: Sequence[int] | np.ndarray, ks: Sequence[int]
) -> np.ndarray:
    """pass@k of every problem, (P, K); nan where a problem has fewer than k samples.

    Args:
        n: Samples per problem, of all or of each.
        counts_P: Correct samples of each problem.
        ks: Values of k.

    Raises:
        ValueError: a k that no problem has enough samples for, or as `pass_at_k`.
    """
    n_P = np.broadcast_to(np.asarray(n, dtype=int), len(counts_P))
    pairs_P = np.stack([n_P, np.asarray(counts_P, dtype=int)], axis=-1)
    if len(ks) and len(n_P) and max(ks) > n_P.max():
        raise ValueError(f"pass@{max(ks)} needs 1 <= k <= n, but no problem has more than {n_P.max()} samples")
    distinct_U, place_P = np.unique(pairs_P, axis=0, return_inverse=True)
    values_UK = [[pass_at_k(int(n), int(c), k) if k <= n else math.nan for k in ks] for n, c in distinct_U]
    return np.array(values_UK, dtype=float).reshape(len(distinct_U), len(ks))[place_P.reshape(-1)]


def curve_over_problems(values_PK: np.ndarray, ks: Sequence[int], *, bounds: Bounds = (0.0, 1.0)) -> PassAtKCurve:
    """Mean over problems with standard error and 95 % interval.

    Both measures say how much the score would move with other problems of the same kind and other samples of them. The
    noise of sampling is in them at every k: each problem's value is off by its own, independent noise, so that the
    spread between the values is that between the problems plus that of sampling. Samples must not be resampled within
    problems on top, which would count the latter twice (benchmarks/compare_itself.py).

    Args:
        values_PK: pass@k of each problem (of several models or seeds: their mean; or a difference of two).
        ks: Values of k.
        bounds: What no value is below or above.

    Raises:
        ValueError: no problems.
    """
    problems = len(values_PK)
    if not problems:
        raise ValueError("pass@k of no problems is undefined")
    mean_K = values_PK.mean(axis=0)
    if problems == 1:
        undefined_K = np.full(len(ks), np.nan)
        return PassAtKCurve(tuple(ks), mean_K, undefined_K, undefined_K, undefined_K)
    se_K = values_PK.std(axis=0, ddof=1) / math.sqrt(problems)
    se_K[np.ptp(values_PK, axis=0) <= 2 * _EPS] = 0.0  # equal values that were rounded apart
    low_K, high_K = mean_interval(mean_K, se_K, problems, bounds)
    return PassAtKCurve(tuple(ks), mean_K, se_K, low_K, high_K)


def pass_at_k_curve(
    n: int | Sequence[int] | np.ndarray, counts_P: Sequence[int] | np.ndarray, ks: Sequence[int]
) -> PassAtKCurve:
    """pass@k of a problem set, see `pass_at_k_table` and `curve_over_problems`."""
    return curve_over_problems(pass_at_k_table(n, counts_P, ks), ks)


def macro_average(
    tables_SPK: Sequence[np.ndarray], ks: Sequence[int], *, bounds_S: Sequence[Bounds] | None = None
) -> PassAtKCurve:
    """Mean over suites of their means over problems: every suite counts the same.

    The suites are independent, so that the distances from their means to the ends of their intervals add up in squares.
    With a suite of one problem, whose spread nobody knows, there is no interval.

    Source: Zou and Donner 2008, Statistics in Medicine 27 ("variance estimates recovery").

    Args:
        tables_SPK: Of each suite, pass@k of its problems (P, K).
        ks: Values of k.
        bounds_S: Of each suite, what no value is below or above; 0 and 1 unless told.

    Raises:
        ValueError: no suites, or one without problems.
    """
    bounds_S = bounds_S or [(0.0, 1.0)] * len(tables_SPK)
    curves = [curve_over_problems(table, ks, bounds=own) for table, own in zip(tables_SPK, bounds_S, strict=True)]
    mean_K = np.mean([curve.mean for curve in curves], axis=0)
    se_K, below_K, above_K = (
        np.sqrt(np.sum(np.square(distances_SK), axis=0)) / len(curves)
        for distances_SK in (
            [curve.se for curve in curves],
            [curve.mean - curve.low for curve in curves],
            [curve.high - curve.mean for curve in curves],
        )
    )
    lowest, highest = (sum(ends) / len(curves) for ends in zip(*bounds_S, strict=True))
    # But for rounding they are within.
    low_K, high_K = (np.clip(ends_K, lowest, highest) for ends_K in (mean_K - below_K, mean_K + above_K))
    return PassAtKCurve(tuple(ks), mean_K, se_K, low_K, high_K)


def mean_interval(
    mean_K: np.ndarray, se_K: np.ndarray, problems: int, bounds: Bounds, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Interval for means of bounded values: Wilson's, with an effective number of problems and Student's quantile.

        m = p (1 - p) / se^2,   p + q^2 / 2m +- q sqrt(p (1 - p) / m + q^2 / 4m^2)
                                -------------------------------------------------
                                                  1 + q^2 / m

    for values between 0 and 1; others are mapped there and back. m is how many yes-or-no problems would give the same
    standard error, so that for k = n this is Wilson's interval for a proportion. It never leaves the bounds. Where all
    values are equal se is 0 and says nothing: then it is what Wilson gives for none of so many problems that differs.

    Source: Korn and Graubard 1998 (effective sample size), Survey Methodology 24; for Wilson's form Franco, Little,
    Louis and Slud 2019, Journal of Survey Statistics and Methodology 7. Coverage: benchmarks/coverage.py.

    Args:
        mean_K: The means.
        se_K: Their standard errors.
        problems: How many they are taken over, two or more.
        bounds: What no value is below or above.
        level: How often it is to hold the truth.

    Returns:
        Lower and upper ends.
    """
    lowest, highest = bounds
    p_K, se_K = (mean_K - lowest) / (highest - lowest), se_K / (highest - lowest)
    q2 = float(stdtrit(problems - 1, (1 + level) / 2)) ** 2
    differing = q2 / (problems - 1 + q2)
    with np.errstate(divide="ignore", invalid="ignore"):
        g_K = q2 * se_K**2 / (p_K * (1 - p_K))  # q^2 / m
        middle_K = (p_K + g_K / 2) / (1 + g_K)
        half_K = np.sqrt(g_K * p_K * (1 - p_K) + g_K**2 / 4) / (1 + g_K)
    low_K = np.where(se_K == 0, (1 - differing) * p_K, middle_K - half_K)
    high_K = np.where(se_K == 0, (1 - differing) * p_K + differing, middle_K + half_K)
    # Rounding may push an end past the mean or the bound that it touches.
    low_K, high_K = np.clip(np.minimum(low_K, p_K), 0, 1), np.clip(np.maximum(high_K, p_K), 0, 1)
    return lowest + (highest - lowest) * low_K, lowest + (highest - lowest) * high_K


def bootstrap_means(values_PK: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means (R, K) over problems drawn with replacement, `without_noise`; equal seeds draw equal problems."""
    rng = np.random.default_rng(seed)
    problems = len(values_PK)
    chunks = [min(_CHUNK, resamples - start) for start in range(0, resamples, _CHUNK)]
    means_RK = np.concatenate([_drawn(rng, size, problems) @ values_PK / problems for size in chunks])
    return without_noise(means_RK, problems)


def _drawn(rng: np.random.Generator, resamples: int, problems: int) -> np.ndarray:
    """How often each problem is in each resample, (R, P)."""
    numbers_RP = rng.integers(problems, size=(resamples, problems)) + problems * np.arange(resamples)[:, None]
    counts = np.bincount(numbers_RP.ravel(), minlength=resamples * problems)
    return counts.reshape(resamples, problems).astype(float)


def without_noise(means: np.ndarray, problems: int) -> np.ndarray:
    """Means of differences, with 0 for those that are not told from 0.

    0.1 + 0.1 + 0.1 - 0.3 is 5e-17 in floating point: a tie must not count as a gain. A difference of two pass@k is off
    by less than one epsilon, and so is the mean of exact ones for every problem that is added up.

    Args:
        means: Means over problems of values between -1 and 1.
        problems: How many.
    """
    return np.where(np.abs(means) <= (problems + 2) * _EPS, 0.0, means)
