"""Where problems come from: a name or path becomes a problem set.

A source is one of

* a procedural family (`countdown3`, `countdown4`, `sum3`, `sum4`, `chain1` to `chain4`), or several that go by one name
  (`arithmetic`, `chain`): seeded, offline;
* a procedural family of one's own: the name of an entry point, `module:family` or `path/to/file.py:family`;
* a file: `.jsonl`, `.json`, `.csv` (each also packed, `.gz`) or `.parquet`;
* a folder written by `datasets.save_to_disk`;
* a name such as `gsm8k_train`: the file or folder of that name in the folder `AEPO_DATA_DIR` (its `train/` and `eval/`
  included);
* a Hugging Face dataset id, `org/name` or `org/name:configuration`;
* a mix of these by weight, `countdown3=2,chain=1` or a mapping, see `aepo_rllib.envs.problems.mixes`.
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
from aepo_rllib.envs.problems.families import FAMILIES, GROUP, find_family, is_family
from aepo_rllib.envs.problems.holding_out import TRAIN, VALIDATION, side_of
from aepo_rllib.envs.problems.jsonl import read_json, read_jsonl
from aepo_rllib.envs.problems.mixes import MIXES, as_mix, families_of, mixed
from aepo_rllib.envs.problems.problem import ProblemError, ProblemSet
from aepo_rllib.envs.problems.rows import as_problems
from aepo_rllib.envs.problems.tables import read_csv, read_hub, read_parquet, read_saved
from aepo_rllib.support.arguments import did_you_mean
from aepo_rllib.support.plugins import known

Rows = Iterator[tuple[str, Mapping[str, Any]]]
READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
PROCEDURAL = "procedural"
"""What a mix calls its procedural families, which are drawn together."""


def load_problems(
    source: str | Mapping[str, int],
    *,
    split: str = "train",
    fields: Mapping[str, str] | None = None,
    seed: int = 0,
    drop_repeats: bool = True,
    verifier: str | None = None,
    drop_conflicts: bool = False,
    held_out: float = 0.0,
) -> ProblemSet:
    """The problem set behind a source, read once per process.

    Args:
        source: See the module's docstring.
        split: "train", "validation" or "test" of a procedural set; the split of a Hugging Face dataset, saved or on
            the hub. A file has no splits.
        fields: Field map, for files and datasets, see `aepo_rllib.envs.problems.columns`.
        seed: Seed of a procedural set, and of what a mix takes of others.
        drop_repeats: Leave out rows whose problem has come before, in files and datasets.
        verifier: Name of the rule that judges the answers of rows which name none, see
            `aepo_rllib.envs.grading.get_verifier`; default "math". A procedural set has its own, and only a function
            (`module:function`) takes their place.
        drop_conflicts: Leave out problems that come with different answers. Without it they are refused; with
            `drop_repeats=False` they are kept.
        held_out: Share of a file's or dataset's training problems that are its split "validation", see
            `aepo_rllib.envs.problems.holding_out`; its split "train" is without them.

    Raises:
        ProblemError: nothing there, no rows, or a malformed row; the message names file, line and reason.
        ValueError: an argument of the wrong kind, an unknown verifier, a family that is not there or cannot be
            imported, or a split that a procedural set does not have.
    """
    if not isinstance(split, str) or not split.strip():
        raise ValueError(f"split must be a name such as train, not {shown(split)}")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise ValueError(f"seed (problem_seed of an environment) must be a whole number, not {shown(seed)}")
    check_source(source)
    is_function = _check_verifier(source, verifier)
    columns = tuple(sorted(check_fields(fields).items()))
    weights = as_mix(source) or {str(source): 1}

    def load(procedural: tuple[tuple[str, int], ...], other: str) -> ProblemSet:
        path = find_file(other) if other else None
        own = verifier if other or is_function else None
        cut = held_out if other else 0.0
        read = TRAIN if cut and split == VALIDATION else split
        problems = _load(
            procedural, other, read, columns, int(seed), bool(drop_repeats), bool(drop_conflicts), own, _stamp(path)
        )
        return _side(problems, split, cut, other) if cut else problems

    families = {name: weight for name, weight in weights.items() if is_procedural(name)}
    sets = {name: load((), name) for name in weights if name not in families}
    if families:
        sets = {PROCEDURAL: load(tuple(families_of(families).items()), ""), **sets}
    if len(weights) == 1 or not sets.keys() - {PROCEDURAL}:
        (alone,) = sets.values()
        return alone
    return mixed(sets, {PROCEDURAL: sum(families.values()), **weights}, int(seed))


def is_procedural(source: str | Mapping[str, int]) -> bool:
    """Whether a source is generated, and so has splits of its own; a mix if all of it is."""
    return all(name in MIXES or is_family(name) for name in as_mix(source) or [str(source)])


def check_source(source: Any) -> None:
    """Refuse a source, or a part of a mix, that there is none of. Nothing is read but families of the user's own.

    Raises:
        ProblemError: names it, and the nearest names that are known.
        ValueError: a family cannot be imported.
    """
    names = as_mix(source)
    if names is None and (not isinstance(source, str) or not source.strip()):
        raise ProblemError(f"problems must be a file, a name, a dataset id or a mix of them, not {shown(source)}")
    for name in names or [source]:
        if name in MIXES:
            continue
        if is_family(name):
            find_family(name)
        elif find_file(name) is None and not _is_hub_id(name):
            raise _nothing(name, "" if names is None else f" (in the mix {source})")


def _check_verifier(source: str | Mapping[str, int], verifier: str | None) -> bool:
    """Whether the verifier is a function, which takes the place of those of a procedural set."""
    from aepo_rllib.envs.grading.verifiers import get_verifier  # which imports `Problem`

    if verifier is None:
        return False
    if not isinstance(verifier, str):
        raise ValueError(f"verifier must be a name, not {shown(verifier)}")
    found = get_verifier(verifier)
    if is_procedural(source) and found.judge is not None:
        raise ValueError(f"{source} has verifiers of its own; leave out verifier={verifier}")
    return found.judge is None


def _side(problems: ProblemSet, split: str, share: float, source: str) -> ProblemSet:
    found = side_of(problems, split, share)
    if not found:
        raise ProblemError(
            f"{source}: held_out={share:g} (validation_share of a run) leaves no {split} problem of {len(problems)}; "
            "choose another share"
        )
    return found


def _stamp(path: Path | None) -> tuple[str, int] | None:
    """What tells a changed file from the one that was read before: its path and the time of its last change."""
    if path is None:
        return None
    parts = path.rglob("*") if path.is_dir() else ()
    return str(path.resolve()), max(part.stat().st_mtime_ns for part in (path, *parts))


@lru_cache(maxsize=8)
def _load(
    families: tuple[tuple[str, int], ...],
    source: str,
    split: str,
    fields: tuple[tuple[str, str], ...],
    seed: int,
    drop_repeats: bool,
    drop_conflicts: bool,
    verifier: str | None,
    stamp: tuple[str, int] | None,
) -> ProblemSet:
    """The set of these families, or of this source; `stamp` is only there to tell one cached set from another."""
    if families:
        problems = arithmetic_problems(split, families=dict(families), seed=seed)
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
    return read_hub(source, split), source


def _is_hub_id(source: str) -> bool:
    return (
        "/" in source
        and not ending_of(source)
        and not source.startswith((".", "/"))
        and not os.path.isdir(source)
        and not os.path.isfile(source)
    )


def _nothing(source: str, where: str) -> ProblemError:
    """Why there are no problems by this name."""
    if os.path.isdir(source):
        return ProblemError(
            f"{source}: a folder that datasets.save_to_disk has not written; name one of its files, which end in "
            f"{', '.join(ENDINGS)}"
        )
    if os.path.isfile(source):
        return ProblemError(f"{source}: a file of problems has a name that ends in {', '.join(ENDINGS)}")
    names = (*MIXES, *known(FAMILIES, GROUP))
    return ProblemError(
        f"no problems called {shown(source)}{where}: it is no file, not in {DATA_DIR_VARIABLE} "
        f"({os.environ.get(DATA_DIR_VARIABLE, 'not set')}), and not one of {', '.join(names)}"
        f"{did_you_mean(source, names)}"
    )
