"""How often 95 % intervals over problems hold the truth, for few problems and many.

    python benchmarks/coverage.py

Pass rates of problems are drawn from beta distributions (problems of all kinds; easy and hard ones only; mostly hard
ones; mostly easy ones), and n = 16 samples of each. The truth is the mean over the distribution, in closed form. Three
intervals: Wilson's with an effective number of problems (`aepo_rllib.eval.passk.mean_interval`, which reports give),
Student's, and the percentile bootstrap. A paired difference is between two models with independent pass rates of the
same distribution, so that its truth is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from aepo_rllib.eval.passk import curve_over_problems, pass_at_k_table

N, TRIALS, RESAMPLES = 16, 1000, 400
PROBLEMS = (5, 10, 15, 20, 30, 100)
PASS_RATES = {"beta(1, 1)": (1, 1), "beta(0.3, 0.3)": (0.3, 0.3), "beta(0.5, 4.5)": (0.5, 4.5), "beta(5, 2)": (5, 2)}
SCORES = {"pass@1": 1, "pass@4": 4, "pass@16 = n": N}
Interval = Callable[[np.ndarray], tuple[float, float]]


def main() -> None:
    rng = np.random.default_rng(0)
    print("| pass rates | score | interval | " + " | ".join(f"{problems} problems" for problems in PROBLEMS) + " |")
    print("| --- " * (3 + len(PROBLEMS)) + "|")
    for name, shape in PASS_RATES.items():
        for score, k in SCORES.items():
            report(name, score, true_pass_at_k(*shape, k), lambda p, s=shape, k=k: values(rng, *s, p, k), (0.0, 1.0))
    shape = PASS_RATES["beta(1, 1)"]
    for score, k in SCORES.items():
        draw = lambda p, k=k: values(rng, *shape, p, k) - values(rng, *shape, p, k)  # noqa: E731
        report("beta(1, 1)", f"difference of {score}", 0.0, draw, (-1.0, 1.0))


def report(name: str, score: str, truth: float, draw: Callable[[int], np.ndarray], bounds: tuple[float, float]) -> None:
    intervals: dict[str, Interval] = {
        "ours": lambda values_P: ours(values_P, bounds),
        "Student's": student,
        "percentile": percentile,
    }
    covered = {(label, problems): 0 for label in intervals for problems in PROBLEMS}
    for problems in PROBLEMS:
        for _ in range(TRIALS):
            values_P = draw(problems)
            for label, interval in intervals.items():
                low, high = interval(values_P)
                covered[label, problems] += low <= truth <= high
    for label in intervals:
        shares = " | ".join(f"{100 * covered[label, problems] / TRIALS:.0f}" for problems in PROBLEMS)
        print(f"| {name} | {score} | {label} | {shares} |", flush=True)


def true_pass_at_k(a: float, b: float, k: int) -> float:
    """1 - E[(1 - p)^k] for p of a beta distribution."""
    return 1 - math.exp(math.lgamma(b + k) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + k))


def values(rng: np.random.Generator, a: float, b: float, problems: int, k: int) -> np.ndarray:
    """pass@k of so many problems, (P,)."""
    return pass_at_k_table(N, rng.binomial(N, rng.beta(a, b, problems)), [k])[:, 0]


def ours(values_P: np.ndarray, bounds: tuple[float, float]) -> tuple[float, float]:
    curve = curve_over_problems(values_P[:, None], [1], bounds=bounds)
    return float(curve.low[0]), float(curve.high[0])


def student(values_P: np.ndarray) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(values_P) - 1) * values_P.std(ddof=1) / math.sqrt(len(values_P))
    return values_P.mean() - half, values_P.mean() + half


def percentile(values_P: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn_RP = rng.integers(len(values_P), size=(RESAMPLES, len(values_P)))
    low, high = np.quantile(values_P[drawn_RP].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
