"""pass@k: the unbiased estimator, and its uncertainty over problems.

Shape suffixes: P problems, K values of k, U distinct counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 10_000
_CHUNK = 500
"""Bootstrap resamples drawn at a time, which bounds memory."""


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
    """Lower end of the 95 % bootstrap interval over problems."""
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


def curve_over_problems(
    values_PK: np.ndarray, ks: Sequence[int], *, resamples: int = RESAMPLES, seed: int = 0
) -> PassAtKCurve:
    """Mean over problems with standard error and 95 % bootstrap interval.

    The bootstrap draws P problems with replacement (as multinomial weights) and takes the 2.5 and 97.5 % quantiles of
    the mean. Both measures say how much the score would move with other problems of the same kind. They include the
    noise of sampling only while k is well below n: at k = n every problem is a single 0 or 1.

    Args:
        values_PK: pass@k of each problem (of several models or seeds: their mean).
        ks: Values of k.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.

    Raises:
        ValueError: no problems.
    """
    if not len(values_PK):
        raise ValueError("pass@k of no problems is undefined")
    mean_K = values_PK.mean(axis=0)
    if len(values_PK) == 1:
        undefined_K = np.full(len(ks), np.nan)
        return PassAtKCurve(tuple(ks), mean_K, undefined_K, undefined_K, undefined_K)
    se_K = values_PK.std(axis=0, ddof=1) / math.sqrt(len(values_PK))
    low_K, high_K = np.quantile(bootstrap_means(values_PK, resamples, seed), [0.025, 0.975], axis=0)
    return PassAtKCurve(tuple(ks), mean_K, se_K, low_K, high_K)


def pass_at_k_curve(
    n: int | Sequence[int] | np.ndarray,
    counts_P: Sequence[int] | np.ndarray,
    ks: Sequence[int],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PassAtKCurve:
    """pass@k of a problem set, see `pass_at_k_table` and `curve_over_problems`."""
    return curve_over_problems(pass_at_k_table(n, counts_P, ks), ks, resamples=resamples, seed=seed)


def macro_average(
    tables_SPK: Sequence[np.ndarray], ks: Sequence[int], *, resamples: int = RESAMPLES, seed: int = 0
) -> PassAtKCurve:
    """Mean over suites of their means over problems: every suite counts the same.

    Problems are resampled within their suites.

    Args:
        tables_SPK: Of each suite, pass@k of its problems (P, K).
        ks: Values of k.
        resamples: Bootstrap draws.
        seed: Of the bootstrap.

    Raises:
        ValueError: no suites, or one without problems.
    """
    curves = [curve_over_problems(table, ks, resamples=1, seed=seed) for table in tables_SPK]
    mean_K = np.mean([curve.mean for curve in curves], axis=0)
    se_K = np.sqrt(np.sum([curve.se**2 for curve in curves], axis=0)) / len(curves)
    draws = [bootstrap_means(table, resamples, seed + place) for place, table in enumerate(tables_SPK)]
    low_K, high_K = np.quantile(np.mean(draws, axis=0), [0.025, 0.975], axis=0)
    known_K = ~np.isnan(se_K)  # not with a suite of one problem, whose spread nobody knows
    return PassAtKCurve(tuple(ks), mean_K, se_K, np.where(known_K, low_K, np.nan), np.where(known_K, high_K, np.nan))


def bootstrap_means(values_PK: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means (resamples, K) over problems drawn with replacement; equal seeds draw equal problems."""
    rng = np.random.default_rng(seed)
    problems = len(values_PK)
    chunks = [min(_CHUNK, resamples - start) for start in range(0, resamples, _CHUNK)]
    uniform_P = np.full(problems, 1 / problems)
    return np.concatenate([rng.multinomial(problems, uniform_P, size=size) @ values_PK / problems for size in chunks])
