"""Where problems come from: a name or path becomes a problem set.

A source is one of

* `arithmetic`, or one of its families (`countdown3`, `countdown4`, `sum3`, `sum4`): procedural, seeded, offline;
* a procedural family of one's own: the name of an entry point, `module:family` or `path/to/file.py:family`;
* a file: `.jsonl`, `.json`, `.csv` (each also packed, `.gz`) or `.parquet`;
* a folder written by `datasets.save_to_disk`;
* a name such as `gsm8k_train`: the file or folder of that name in the folder `AEPO_DATA_DIR` (its `train/` and `eval/`
  included);
* a Hugging Face dataset id, `org/name` or `org/name:configuration`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.arithmetic import arithmetic_problems
from aepo_rllib.envs.problems.bounded_files import DATA_DIR_VARIABLE, ENDINGS, PACKED, ending_of, find_file
from aepo_rllib.envs.problems.columns import check_fields, shown
from aepo_rllib.envs.problems.families import FAMILIES, GROUP, is_family
from aepo_rllib.envs.problems.jsonl import read_json, read_jsonl
from aepo_rllib.envs.problems.problem import ProblemError, ProblemSet
from aepo_rllib.envs.problems.rows import as_problems
from aepo_rllib.envs.problems.tables import read_csv, read_hub, read_parquet, read_saved
from aepo_rllib.support.plugins import known

MIX = "arithmetic"
"""The embedded families together, in fixed proportions."""
Rows = Iterator[tuple[str, Mapping[str, Any]]]
READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}


def load_problems(
    source: str,
    *,
    split: str = "train",
    fields: Mapping[str, str] | None = None,
    seed: int = 0,
    drop_repeats: bool = True,
    verifier: str | None = None,
    drop_conflicts: bool = False,
) -> ProblemSet:
    """The problem set behind a source, read once per process.

    Args:
        source: See the module's docstring.
        split: "train", "validation" or "test" of a procedural set; the split of a Hugging Face dataset, saved or on
            the hub. A file has no splits.
        fields: Field map, for files and datasets, see `aepo_rllib.envs.problems.columns`.
        seed: Seed of a procedural set.
        drop_repeats: Leave out rows whose problem has come before, in files and datasets.
        verifier: Name of the rule that judges the answers of rows which name none, see
            `aepo_rllib.envs.grading.get_verifier`; default "math". A procedural set has its own, and only a function
            (`module:function`) takes their place.
        drop_conflicts: Leave out problems that come with different answers. Without it they are refused; with
            `drop_repeats=False` they are kept.

    Raises:
        ProblemError: nothing there, no rows, or a malformed row; the message names file, line and reason.
        ValueError: an argument of the wrong kind, an unknown verifier, a family that is not there or cannot be
            imported, or a split that a procedural set does not have.
    """
    if not isinstance(source, str) or not source.strip():
        raise ProblemError(f"problems must be a file, a name or a dataset id, not {shown(source)}")
    if not isinstance(split, str) or not split.strip():
        raise ValueError(f"split must be a name such as train, not {shown(split)}")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise ValueError(f"seed (problem_seed of an environment) must be a whole number, not {shown(seed)}")
    _check_verifier(source, verifier)
    columns = tuple(sorted(check_fields(fields).items()))
    path = None if is_procedural(source) else find_file(source)
    return _load(source, split, columns, int(seed), bool(drop_repeats), bool(drop_conflicts), verifier, _stamp(path))


def is_procedural(source: str) -> bool:
    """Whether a source is generated, and so has splits of its own."""
    return source == MIX or is_family(source)


def _check_verifier(source: str, verifier: str | None) -> None:
    from aepo_rllib.envs.grading.verifiers import get_verifier  # which imports `Problem`

    if verifier is None:
        return
    if not isinstance(verifier, str):
        raise ValueError(f"verifier must be a name, not {shown(verifier)}")
    found = get_verifier(verifier)
    if is_procedural(source) and found.judge is not None:
        raise ValueError(f"{source} has verifiers of its own; leave out verifier={verifier}")


def _stamp(path: Path | None) -> tuple[str, int] | None:
    """What tells a changed file from the one that was read before: its path and the time of its last change."""
    if path is None:
        return None
    parts = path.rglob("*") if path.is_dir() else ()
    return str(path.resolve()), max(part.stat().st_mtime_ns for part in (path, *parts))


@lru_cache(maxsize=8)
def _load(
    source: str,
    split: str,
    fields: tuple[tuple[str, str], ...],
    seed: int,
    drop_repeats: bool,
    drop_conflicts: bool,
    verifier: str | None,
    stamp: tuple[str, int] | None,
) -> ProblemSet:
    """The set; `stamp` is only there to tell one cached set from another."""
    if is_procedural(source):
        families = None if source == MIX else {source: 1}
        problems = arithmetic_problems(split, families=families, seed=seed)
        return [replace(problem, verifier=verifier) for problem in problems] if verifier else problems
    rows, place = _rows(source, split)
    mapped = dict(fields)
    problems = as_problems(
        rows, mapped, place, verifier=verifier, drop_repeats=drop_repeats, drop_conflicts=drop_conflicts
    )
    if not problems:
        raise ProblemError(f"{place}: no problems in it")
    if "family" in mapped and not any(problem.family for problem in problems):
        raise ProblemError(f"{place}: no row has a family (looked for {mapped['family']})")
    return problems


def _rows(source: str, split: str) -> tuple[Rows, str]:
    """The rows of a source that is not procedural, and what messages call it."""
    path = find_file(source)
    if path is not None and path.is_dir():
        return read_saved(path, split), str(path)
    if path is not None:
        return READERS[ending_of(path.name).removesuffix(PACKED)](path), str(path)
    if os.path.isdir(source):
        raise ProblemError(
            f"{source}: a folder that datasets.save_to_disk has not written; name one of its files, which end in "
            f"{', '.join(ENDINGS)}"
        )
    if os.path.isfile(source):
        raise ProblemError(f"{source}: a file of problems has a name that ends in {', '.join(ENDINGS)}")
    if "/" in source and not ending_of(source) and not source.startswith((".", "/")):
        return read_hub(source, split), source
    raise ProblemError(
        f"no problems called {shown(source)}: it is no file, not in {DATA_DIR_VARIABLE} "
        f"({os.environ.get(DATA_DIR_VARIABLE, 'not set')}), and not one of {', '.join((MIX, *known(FAMILIES, GROUP)))}"
    )
