"""What suites are called, and what to say where there is none of a name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from aepo_rllib.eval.suites.catalogue import suite_names

_YAML = (".yaml", ".yml")
_DATA = re.compile(r"(\.(jsonl|json|csv|parquet|arrow))?(\.gz)?$", re.IGNORECASE)


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


def suite_hint(name: str, known: Sequence[str]) -> str:
    """What to write instead of a suite's name that is not known."""
    name = name[:100]
    if _DATA.search(name).group() or "/" in name:  # type: ignore[union-attr]  # it matches the empty end too
        return f"problems of your own are named by --problems {name}, an lm-eval task of your own by --suite FILE.yaml"
    near = difflib.get_close_matches(name, known, n=2) or difflib.get_close_matches(f"aepo_{name}", known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
