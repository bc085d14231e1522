"""What can be refused before anything is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from aepo_rllib.eval.suites import suite_names

MAX_SAMPLES = 100_000
"""Of a problem: pass@k is computed in exact integers of so many bits, which takes a second for every few values."""


def check_suites(names: Sequence[str]) -> None:
    """Refuse unknown suites.

    Raises:
        ValueError: names the nearest known ones.
    """
    known = suite_names()
    for name in names:
        if name not in known:
            name = name[:100]
            near = difflib.get_close_matches(name, known, n=2) or difflib.get_close_matches(f"aepo_{name}", known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"unknown suite {name!r}; {hint}")


def check_sampling(n: int, ks: Sequence[int] | None, temperature: float) -> None:
    """Refuse what could only fail after sampling.

    Raises:
        ValueError: a k outside 1..n, n below 1 or above `MAX_SAMPLES`, or several greedy samples.
    """
    if not 1 <= n <= MAX_SAMPLES:
        raise ValueError(f"n must be from 1 to {MAX_SAMPLES} (beyond, pass@k takes hours), got {n}")
    if ks and not 1 <= min(ks) <= max(ks) <= n:
        worst = max(ks) if max(ks) > n else min(ks)
        raise ValueError(f"pass@{worst} needs 1 <= k <= n, and n is {n}; raise n or leave that k out")
    if temperature == 0 and n > 1:
        raise ValueError(f"temperature 0 gives {n} equal samples of a problem; take n = 1 or a higher temperature")
