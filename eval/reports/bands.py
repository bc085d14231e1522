"""Bands that hold a whole curve of differences at once.

A 95 % interval misses the truth at one k in twenty, and a curve has many k: two evaluations of one model differ at some
k or other, going by intervals, in one of six cases. A band holds the difference at every k together in 95 of 100.

Shape suffixes: P problems, K values of k, R draws.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped]

from aepo_rllib.eval.passk import Bounds, PassAtKCurve, mean_interval

CONFIDENCE = 0.95
DRAWS = 10_000


def joint_level(values_PK: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> float:
    """The level of intervals that hold all means at once as often as `CONFIDENCE` says.

    Means over problems are close to normal, and correlated as the values are. The level is that of the quantile of the
    largest of so many correlated standard normals: 0.95 where all columns tell the same, up to 1 - 0.05 / K where none
    tells anything of another.

    Source: Hothorn, Bretz and Westfall 2008, Biometrical Journal 50 ("single-step" simultaneous intervals).

    Args:
        values_PK: Of each problem, at each k; two problems or more.
        draws: Of the normals.
        seed: Of the draws.
    """
    varying = np.ptp(values_PK, axis=0) > 0  # where nothing varies, nothing can mislead
    if not varying.any():
        return CONFIDENCE
    correlation_KK = np.atleast_2d(np.corrcoef(values_PK[:, varying], rowvar=False))
    weights_K, vectors_KK = np.linalg.eigh(correlation_KK)
    root_KK = vectors_KK * np.sqrt(np.clip(weights_K, 0, None))
    normals_RK = np.random.default_rng(seed).standard_normal((draws, len(root_KK))) @ root_KK.T
    level = 2 * ndtr(np.quantile(np.abs(normals_RK).max(axis=1), CONFIDENCE)) - 1
    return max(float(level), CONFIDENCE)  # but for the noise of the draws it is no less


def joint_band(
    curve: PassAtKCurve, values_PK: np.ndarray, bounds: Bounds, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends (K,) of the 95 % band around a curve; nan where it has no intervals.

    Args:
        curve: Means of `values_PK`.
        values_PK: Of each problem, at each k.
        bounds: What no value is below or above.
        seed: Of the draws.
    """
    if len(values_PK) < 2 or np.isnan(values_PK).any():
        return curve.low, curve.high
    level = joint_level(values_PK, seed=seed)
    return mean_interval(curve.mean, curve.se, len(values_PK), bounds, level=level)


def beyond_noise(low_K: np.ndarray, high_K: np.ndarray, problems: int) -> np.ndarray:
    """+1 where a band of differences lies above 0, -1 where below, 0 where it holds 0 or is unknown; (K,).

    Args:
        low_K: Its lower ends.
        high_K: Its upper ends.
        problems: How many the means are taken over: an end that rounding has moved off 0 is 0.
    """
    rounding = (problems + 2) * np.finfo(float).eps
    return (low_K > rounding).astype(int) - (high_K < -rounding).astype(int)
