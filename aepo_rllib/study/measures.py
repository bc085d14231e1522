"""How well a run's entropy was held: pure functions of its curve.

Shape suffixes: S training steps, M their running means: of steps 1..w, 2..w+1, ..., so that M = S - w + 1.

A batch's entropy is noisy, so errors are those of running means. The second half of a run is where it should have
settled: its means are those of windows that lie in it as a whole. Where there is no such window, or no target, a
measure is nan.
"""

from __future__ import annotations

import numpy as np

WINDOW = 20
"""Steps of a running mean."""
TOLERANCE = 0.05
"""Of the target: within it a curve has settled."""
NO_CHANGE = 0.01
"""Of the target: where a run starts nearer than that there is nothing to overshoot."""


def running_means(values_S: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Means (M,) of every `window` steps in a row; none where there are fewer."""
    if len(values_S) < window:
        return np.empty(0)
    return np.convolve(values_S, np.full(window, 1 / window), mode="valid")


def second_half(values_S: np.ndarray) -> np.ndarray:
    """The later half of a run's steps; of an odd number the smaller half."""
    return values_S[(len(values_S) + 1) // 2 :]


def relative_errors(entropy_S: np.ndarray, target_S: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """(mean entropy - mean target) / mean target of every window, (M,)."""
    target_M = running_means(target_S, window)
    return (running_means(entropy_S, window) - target_M) / target_M


def mean_error(entropy_S: np.ndarray, target_S: np.ndarray, window: int = WINDOW) -> float:
    """Mean distance of the second half's running means from the target, as a share of it."""
    errors_M = relative_errors(second_half(entropy_S), second_half(target_S), window)
    return float(np.abs(errors_M).mean()) if len(errors_M) else np.nan


def largest_error(entropy_S: np.ndarray, target_S: np.ndarray, window: int = WINDOW) -> float:
    """Largest distance of the second half's running means from the target, as a share of it."""
    errors_M = relative_errors(second_half(entropy_S), second_half(target_S), window)
    return float(np.abs(errors_M).max()) if len(errors_M) else np.nan


def settling_step(
    entropy_S: np.ndarray, target_S: np.ndarray, window: int = WINDOW, tolerance: float = TOLERANCE
) -> float:
    """The first step (from 1) from which on the running mean stays within `tolerance` of the target.

    The earliest is `window`, the end of the first mean. nan where the last mean is outside.
    """
    within_M = np.abs(relative_errors(entropy_S, target_S, window)) <= tolerance
    if not len(within_M) or not within_M[-1]:
        return np.nan
    outside = np.flatnonzero(~within_M)
    return float((outside[-1] + 1 if len(outside) else 0) + window)


def overshoot(entropy_S: np.ndarray, target_S: np.ndarray, start: float, window: int = WINDOW) -> tuple[float, float]:
    """How far the running mean goes beyond the target, seen from where the run starts.

    Args:
        entropy_S: In nats per token.
        target_S: Likewise; the direction is that of the first one, and of a moving target every window has its own.
        start: The entropy before the first step.
        window: Steps of a mean.

    Returns:
        As a share of the change that was asked for, |target - start|, and as a share of the target. 0 where it does not
        get there, nan where there is no change to speak of.
    """
    means_M, target_M = running_means(entropy_S, window), running_means(target_S, window)
    if not len(means_M) or not abs(target_S[0] - start) > NO_CHANGE * target_S[0]:
        return np.nan, np.nan
    change = target_S[0] - start
    beyond_M = np.maximum(np.sign(change) * (means_M - target_M), 0.0)
    return float((beyond_M / abs(change)).max()), float((beyond_M / target_M).max())


def duty(setting_S: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Shares of the second half's steps with the setting at its lower and at its upper bound.

    A dial of two levels is always at one of them; one that is all the time at the same has no room left.
    """
    later_S = second_half(setting_S)
    if not len(later_S) or np.isnan(later_S).all() or not low < high:
        return np.nan, np.nan
    return float(np.mean(np.isclose(later_S, low))), float(np.mean(np.isclose(later_S, high)))


def later_mean(values_S: np.ndarray) -> float:
    """Mean of what is known of the second half; of some metrics a step may have none."""
    later_S = second_half(values_S)
    known = later_S[~np.isnan(later_S)]
    return float(known.mean()) if len(known) else np.nan
