"""Where problems come from: a name or path becomes a problem set.

A source is one of

* `arithmetic`, or one of its families (`countdown3`, `countdown4`, `sum3`, `sum4`): procedural, seeded, offline;
* a `.jsonl` file, one JSON object per line;
* a name such as `gsm8k_train`: the file of that name in the folder `AEPO_DATA_DIR` (its `train/` and `eval/`
  included);
* a Hugging Face dataset id, `org/name` or `org/name:configuration`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.arithmetic import FAMILY_WEIGHTS, arithmetic_problems
from aepo_rllib.envs.problems.jsonl import read_jsonl, regular_file
from aepo_rllib.envs.problems.problem import ProblemError, ProblemSet
from aepo_rllib.envs.problems.rows import as_problems, check_fields, shown

DATA_DIR_VARIABLE = "AEPO_DATA_DIR"


def load_problems(
    source: str,
    *,
    split: str = "train",
    fields: Mapping[str, str] | None = None,
    seed: int = 0,
    drop_repeats: bool = True,
) -> ProblemSet:
    """The problem set behind a source, read once per process.

    Args:
        source: See the module's docstring.
        split: "train", "validation" or "test" of a procedural set; the split of a Hugging Face dataset. A file has
            no splits.
        fields: Field map, for files and datasets, see `aepo_rllib.envs.problems.rows`.
        seed: Seed of a procedural set.
        drop_repeats: Leave out rows whose problem text has come before, in files and datasets.

    Raises:
        ProblemError: nothing there, no rows, or a malformed row; the message names file, line and reason.
        ValueError: an argument of the wrong kind, or a split that a procedural set does not have.
    """
    if not isinstance(source, str) or not source.strip():
        raise ProblemError(f"problems must be a file, a name or a dataset id, not {shown(source)}")
    if not isinstance(split, str) or not split.strip():
        raise ValueError(f"split must be a name such as train, not {shown(split)}")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise ValueError(f"seed (problem_seed of an environment) must be a whole number, not {shown(seed)}")
    columns = tuple(sorted(check_fields(fields).items()))
    path = None if is_procedural(source) else find_file(source)
    stamp = None if path is None else (str(path.resolve()), path.stat().st_mtime_ns)
    return _load(source, split, columns, int(seed), drop_repeats, stamp)


def is_procedural(source: str) -> bool:
    """Whether a source is generated, and so has splits of its own."""
    return source == "arithmetic" or source in FAMILY_WEIGHTS


@lru_cache(maxsize=8)
def _load(
    source: str,
    split: str,
    fields: tuple[tuple[str, str], ...],
    seed: int,
    drop_repeats: bool,
    stamp: tuple[str, int] | None,
) -> ProblemSet:
    """The set; `stamp` (path and time of the file) only tells a changed file from the one that was read before."""
    if is_procedural(source):
        families = None if source == "arithmetic" else {source: 1}
        return arithmetic_problems(split, families=families, seed=seed)
    path = find_file(source)
    if path is not None:
        rows, place = read_jsonl(path), str(path)
    elif os.path.isfile(source):
        raise ProblemError(f"{source}: a file of problems has one JSON object a line, and a name that ends in .jsonl")
    elif "/" in source and not source.endswith(".jsonl") and not source.startswith((".", "/")):
        rows, place = read_hub(source, split), source
    else:
        raise ProblemError(
            f"no problems called {shown(source)}: it is no file, not in {DATA_DIR_VARIABLE} "
            f"({os.environ.get(DATA_DIR_VARIABLE, 'not set')}), and not one of arithmetic, {', '.join(FAMILY_WEIGHTS)}"
        )
    problems = list(as_problems(rows, dict(fields), Path(place).stem, drop_repeats=drop_repeats))
    if not problems:
        raise ProblemError(f"{place}: no problems in it")
    family = dict(fields).get("family")
    if family and not any(problem.family for problem in problems):
        raise ProblemError(f"{place}: no row has a family (looked for {family})")
    return problems


def find_file(source: str) -> Path | None:
    """The file a source names directly or inside `AEPO_DATA_DIR`, if there is one.

    Raises:
        ProblemError: something is there that is no file, or cannot be looked at, or `AEPO_DATA_DIR` names no folder.
    """
    if source.endswith(".jsonl"):
        return regular_file(Path(source))
    folder = os.environ.get(DATA_DIR_VARIABLE)
    if not folder or source != Path(source).name:
        return None
    if not os.path.isdir(folder):
        raise ProblemError(f"{DATA_DIR_VARIABLE} names {folder}, which is no folder")
    candidates = (Path(folder, part, f"{source}.jsonl") for part in ("", "train", "eval"))
    return next(filter(None, map(regular_file, candidates)), None)


def read_hub(source: str, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a Hugging Face dataset.

    Raises:
        ProblemError: it cannot be loaded.
    """
    import datasets

    name, _, configuration = source.partition(":")
    try:
        rows = datasets.load_dataset(name, configuration or None, split=split)
        for number, row in enumerate(rows):
            yield f"{source}[{number}]", row
    except Exception as error:  # the hub raises many unrelated types, some of them only when a row is read
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ProblemError(f"cannot load dataset {shown(source)}, split {shown(split)}: {reason}") from error
