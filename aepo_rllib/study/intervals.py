"""How sure a difference is: over seeds, and over seeds and problems.

Shape suffixes: S seeds, P problems, K values of k, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from aepo_rllib.eval.passk import without_noise
from aepo_rllib.eval.reports.bands import beyond_noise
from aepo_rllib.eval.reports.crossovers import Crossover, find_crossover

RESAMPLES = 4000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean with the ends of its 95 % interval, nan where nobody knows them."""

    mean: float
    low: float
    high: float


def over_seeds(values_S: np.ndarray) -> Interval:
    """Mean over seeds with Student's interval; of paired runs, give the differences seed by seed."""
    mean = float(np.mean(values_S)) if len(values_S) else math.nan
    if len(values_S) < 2:
        return Interval(mean, math.nan, math.nan)
    half = float(stdtrit(len(values_S) - 1, (1 + CONFIDENCE) / 2) * np.std(values_S, ddof=1) / math.sqrt(len(values_S)))
    return Interval(mean, mean - half, mean + half)


def resampled_means(values_SPK: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Bootstrap means (R, K) over seeds and problems.

    Seeds and problems are crossed: all seeds have been asked the same problems. So both are drawn anew, each with
    replacement and apart from the other, and a resample's mean is over all pairs of what was drawn. With one seed, only
    problems are drawn.

    Args:
        values_SPK: Of each run and problem; of paired runs, their differences.
        resamples: How many.
        seed: Of the draws.
    """
    seeds, problems, _ = values_SPK.shape
    rng = np.random.default_rng(seed)
    seeds_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    problems_RP = rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems
    return np.einsum("rs,rp,spk->rk", seeds_RS, problems_RP, values_SPK, optimize=True)


def over_seeds_and_problems(values_SPK: np.ndarray, **options: int) -> list[Interval]:
    """Means over seeds and problems, with bootstrap intervals over both, one for every k.

    An interval lies between quantiles of `resampled_means`, whose arguments these are. Few seeds show too little of
    their spread: with three, it is rather too narrow.
    """
    means_RK = resampled_means(values_SPK, **options)
    low_K, high_K = np.quantile(means_RK, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    ends = zip(values_SPK.mean(axis=(0, 1)), low_K, high_K, strict=True)
    return [Interval(float(mean), float(low), float(high)) for mean, low, high in ends]


def crossing(ks: Sequence[int], values_SPK: np.ndarray, **options: int) -> Crossover | None:
    """The k beyond which a paired difference has the other sign for good, with the share of resamples that have one.

    None where the mean difference has none. It is told from noise by a band around all k at once, as wide as the
    largest studentized distance of the resamples demands.

    Args:
        ks: Values of k.
        values_SPK: Differences of each pair of runs and problem.
        options: Of `resampled_means`.
    """
    pairs = values_SPK.shape[0] * values_SPK.shape[1]
    mean_K = without_noise(values_SPK.mean(axis=(0, 1)), pairs)
    means_RK = without_noise(resampled_means(values_SPK, **options), pairs)
    spread_K = means_RK.std(axis=0)
    distances_RK = np.abs(means_RK - mean_K) / np.where(spread_K > 0, spread_K, 1)
    half_K = np.quantile(distances_RK.max(axis=1), CONFIDENCE) * spread_K
    return find_crossover(ks, mean_K, means_RK, beyond_noise(mean_K - half_K, mean_K + half_K, pairs))
