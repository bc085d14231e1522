"""Where two curves of pass@k cross, and whether they do.

Shape suffixes: K values of k, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Crossover:
    """Where the sign of a difference changes for good.

    Attributes:
        k: Interpolated on a logarithmic axis.
        low: Lower end of the 95 % interval, over those resamples of the problems that have a crossover.
        high: Upper end of it.
        share: Share of the resamples that have one, in the same direction.
        told: Whether it is more than noise: the 95 % band of the difference lies on one side of 0 at some k, and on the
            other at a larger one. Where it does not, there is none in 95 of 100 cases, whatever the truth is.
    """

    k: float
    low: float
    high: float
    share: float
    told: bool


def crossover(ks: Sequence[int], differences_K: np.ndarray) -> float | None:
    """The k beyond which the difference has the other sign than at the smallest k, or None.

    None too where a difference is undefined, or the sign changes more than once. Ties (exactly 0, see `without_noise`)
    at either end do not count: at large k both sides may solve everything.
    """
    signs_K = np.sign(differences_K)
    differing = np.flatnonzero(signs_K)
    if np.isnan(differences_K).any() or not len(differing):
        return None
    first_sign = signs_K[differing[0]]
    others = [int(place) for place in differing if signs_K[place] != first_sign]
    if not others or any(signs_K[place] == first_sign for place in differing if place > others[0]):
        return None
    after = others[0]
    before = max(int(place) for place in differing if place < after)
    weight = differences_K[before] / (differences_K[before] - differences_K[after])
    return float(2 ** ((1 - weight) * math.log2(ks[before]) + weight * math.log2(ks[after])))


def find_crossover(
    ks: Sequence[int], means_K: np.ndarray, draws_RK: np.ndarray, sides_K: np.ndarray
) -> Crossover | None:
    """The crossover of a difference; None where its sign does not change, or changes back.

    Args:
        ks: Values of k.
        means_K: The difference, ties as 0.
        draws_RK: That of resamples of the problems.
        sides_K: On which side of 0 its band lies, see `aepo_rllib.eval.reports.bands.beyond_noise`.
    """
    place = crossover(ks, means_K)
    if place is None:
        return None
    direction = _begins(means_K)
    same = [draw_K for draw_K in draws_RK if _begins(draw_K) == direction]
    found = [k for draw_K in same if (k := crossover(ks, draw_K)) is not None]
    low, high = np.quantile(found, [0.025, 0.975]) if found else (math.nan, math.nan)
    told_K = sides_K * direction
    told = bool((told_K > 0).any() and (told_K[int(np.argmax(told_K > 0)) :] < 0).any())
    return Crossover(place, float(low), float(high), len(found) / len(draws_RK), told)


def _begins(differences_K: np.ndarray) -> float:
    """The first sign that is none of a tie, 0 where all are ties."""
    return float(np.sign(next((value for value in differences_K if value), 0.0)))
