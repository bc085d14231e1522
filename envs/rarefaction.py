"""How many different things a few draws hold, and how evenly they are spread, from how often each was drawn.

`counts` says how often: one positive number for each of the different things, such as the answers to a problem.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache


def distinct_among(k: int, n: int, counts: Sequence[int]) -> float:
    """Expected number of different things among k draws, from n draws: rarefaction.

        sum over things of 1 - C(n - count, k) / C(n, k)

    It is unbiased: the mean over all k-subsets of the n draws. Of things of which there is but one it is pass@k. Draws
    that hold none of the things, such as samples without an answer, are the n - sum(counts) others. Computed in exact
    integers, so the result is the nearest float.

    Source: Hurlbert 1971, "The Nonconcept of Species Diversity", Ecology 52, eq. 15.

    Raises:
        ValueError: k is not in 1..n (with fewer than k draws it is undefined), or there are more counts than draws.
    """
    if not 1 <= k <= n:
        raise ValueError(f"the number of different things among {k} draws needs 1 <= k <= n, but there are n = {n}")
    if sum(counts) > n:
        raise ValueError(f"counts add up to {sum(counts)}, more than the {n} draws")
    subsets = _comb(n, k)
    without = sum(times * _comb(n - count, k) for count, times in Counter(counts).items())
    return (len(counts) * subsets - without) / subsets


def plug_in_entropy(counts: Sequence[int]) -> float:
    """Entropy of the shares of the draws, in nats; 0 where there are none.

    With few draws it is far below the entropy of the law that was drawn from: n draws show log n at most.
    """
    total = sum(counts)
    return math.fsum(count / total * math.log(total / count) for count in counts)


def entropy(counts: Sequence[int]) -> float:
    """Estimate of the entropy of the law that was drawn from, in nats; 0 where there are no draws.

        sum over things of count / n (1 / count + ... + 1 / (n - 1)),   n = sum(counts)

    Entropy is the series over v = 1, 2, ... of (1 / v) sum p (1 - p)^v, whose sums are the chances that draw v + 1 is
    of a new kind. n draws tell the first n - 1 terms without bias, and this is their sum: it errs by the rest of the
    series, always downwards, and the rest shrinks exponentially. It is 0 where all draws are equal, where Grassberger's
    (2003) is negative, and it guesses at nothing that was not seen, as Chao and Shen's (2003) does, whose guess from a
    handful of draws is noisy. Miller and Madow's errs further at the same spread.

    Source: Zhang 2012, "Entropy Estimation in Turing's Perspective", Neural Computation 24.
    """
    total = sum(counts)
    return math.fsum(count / total * (harmonic(total - 1) - harmonic(count - 1)) for count in counts)


@lru_cache(maxsize=4096)
def harmonic(n: int) -> float:
    """1 + 1/2 + ... + 1/n; 0 for n = 0."""
    return math.fsum(1 / i for i in range(1, n + 1))


_comb = lru_cache(maxsize=4096)(math.comb)
"""Problems ask for the same few over and over, and large ones are slow."""
