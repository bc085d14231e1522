"""What can be refused before anything is loaded."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from aepo_rllib.eval.suites import suite_names

MAX_SAMPLES = 100_000
"""Of a problem: pass@k is computed in exact integers of so many bits, which takes a second for every few values."""
DEFAULT_SUITE = "aepo_arithmetic"
_YAML = (".yaml", ".yml")
_DATA = re.compile(r"(\.(jsonl|json|csv|parquet|arrow))?(\.gz)?$", re.IGNORECASE)


def default_suites(suites: Sequence[str] | None, problems: Sequence[str] = ()) -> tuple[str, ...]:
    """The suites that are meant where nobody has named any."""
    return tuple(dict.fromkeys(suites or (() if problems else (DEFAULT_SUITE,))))


def check_suites(names: Sequence[str]) -> None:
    """Refuse all but the suites of this package.

    Raises:
        ValueError: names the nearest known ones.
    """
    known = suite_names()
    for name in names:
        if name not in known:
            raise ValueError(f"unknown suite {name[:100]!r}; {suite_hint(name, known)}")


def is_yaml(name: str) -> bool:
    """Whether a suite is named by its file."""
    return name.endswith(_YAML)


def set_name(source: str) -> str:
    """What the suite of a problem set is called: its file or dataset, in characters that any file name may have."""
    stem = _DATA.sub("", Path(source).name)
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:100] or "problems"


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


def suite_hint(name: str, known: Sequence[str]) -> str:
    """What to write instead of a suite's name that is not known."""
    name = name[:100]
    if _DATA.search(name).group() or "/" in name:  # type: ignore[union-attr]  # it matches the empty end too
        return f"problems of your own are named by --problems {name}, an lm-eval task of your own by --suite FILE.yaml"
    near = difflib.get_close_matches(name, known, n=2) or difflib.get_close_matches(f"aepo_{name}", known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
