"""How sure a difference is: over seeds, and over seeds and problems.

Shape suffixes: S seeds, P problems, K values of k, R resamples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

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


def over_seeds_and_problems(values_SPK: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """Means over seeds and problems, with bootstrap intervals over both, one for every k.

    Seeds and problems are crossed: all seeds have been asked the same problems. So both are drawn anew, each with
    replacement and apart from the other, and a resample's mean is over all pairs of what was drawn; the interval lies
    between its quantiles. With one seed, only problems are drawn. Few seeds show too little of their spread: with
    three, the interval is rather too narrow.

    Args:
        values_SPK: Of each run and problem; of paired runs, their differences.
        resamples: How many means the quantiles are taken of.
        seed: Of the draws.
    """
    seeds, problems, _ = values_SPK.shape
    rng = np.random.default_rng(seed)
    seeds_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    problems_RP = rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems
    means_RK = np.einsum("rs,rp,spk->rk", seeds_RS, problems_RP, values_SPK, optimize=True)
    low_K, high_K = np.quantile(means_RK, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    ends = zip(values_SPK.mean(axis=(0, 1)), low_K, high_K, strict=True)
    return [Interval(float(mean), float(low), float(high)) for mean, low, high in ends]
