"""Where problems come from: a name or path becomes a problem set.

A source is one of

* `arithmetic`, or one of its families (`countdown3`, `countdown4`, `sum3`, `sum4`): procedural, seeded, offline;
* a `.jsonl` file, one JSON object per line;
* a name such as `gsm8k_train`: the file of that name in the folder `AEPO_DATA_DIR` (its `train/` and `eval/`
  included);
* a Hugging Face dataset id, `org/name` or `org/name:configuration`.

A field map says which column holds what: {"problem": "question", "answer": "final_answer"}. Dotted names reach
into nested objects and lists ("reward_model.ground_truth", "prompt.0.content").
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.arithmetic import FAMILY_WEIGHTS, arithmetic_problems
from aepo_rllib.envs.problems.problem import Problem, ProblemError, ProblemSet

DATA_DIR_VARIABLE = "AEPO_DATA_DIR"
MAX_PROBLEM_CHARS = 100_000
MAX_ANSWER_CHARS = 10_000
MAX_LINE_CHARS = 10_000_000
GUESSES: dict[str, tuple[str, ...]] = {
    "problem": ("problem", "question", "Problem", "prompt.0.content", "prompt"),
    "answer": ("answer", "final_answer", "Answer", "reward_model.ground_truth", "solution"),
    "id": ("id", "unique_id", "problem_idx"),
    "family": ("family", "subject"),
}
"""Columns tried in this order for a field that the map does not name."""


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
        fields: Field map, for files and datasets.
        seed: Seed of a procedural set.
        drop_repeats: Leave out rows whose problem text has come before, in files and datasets.

    Raises:
        ProblemError: nothing there, no rows, or a malformed row; the message names file, line and reason.
    """
    path = None if is_procedural(source) else find_file(source)
    stamp = None if path is None else (str(path.resolve()), path.stat().st_mtime_ns)
    return _load(source, split, tuple(sorted((fields or {}).items())), seed, drop_repeats, stamp)


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
    elif "/" in source and not source.endswith(".jsonl") and not source.startswith((".", "/")):
        rows, place = read_hub(source, split), source
    else:
        raise ProblemError(
            f"no problems called {source!r}: it is no file, not in {DATA_DIR_VARIABLE} "
            f"({os.environ.get(DATA_DIR_VARIABLE, 'not set')}), and not one of arithmetic, {', '.join(FAMILY_WEIGHTS)}"
        )
    problems = list(as_problems(rows, dict(fields), Path(place).stem, drop_repeats=drop_repeats))
    if not problems:
        raise ProblemError(f"{place}: no problems in it")
    return problems


def find_file(source: str) -> Path | None:
    """The file a source names directly or inside `AEPO_DATA_DIR`, if there is one."""
    if source.endswith(".jsonl"):
        return Path(source) if Path(source).is_file() else None
    folder = os.environ.get(DATA_DIR_VARIABLE)
    if folder and source == Path(source).name:
        for candidate in (Path(folder), Path(folder) / "train", Path(folder) / "eval"):
            if (candidate / f"{source}.jsonl").is_file():
                return candidate / f"{source}.jsonl"
    return None


def read_jsonl(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of every non-empty line; the place is `file:line`.

    Raises:
        ProblemError: a line is no JSON object.
    """
    with path.open(encoding="utf-8") as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(MAX_LINE_CHARS + 1)
                row = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError) as error:
                raise ProblemError(f"{path}:{number}: not JSON ({error})") from error
            if not line:
                return
            if len(line) > MAX_LINE_CHARS:
                raise ProblemError(f"{path}:{number}: longer than {MAX_LINE_CHARS} characters")
            if row is None:
                continue
            if not isinstance(row, dict):
                raise ProblemError(f"{path}:{number}: not a JSON object but {type(row).__name__}")
            yield f"{path}:{number}", row


def read_hub(source: str, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a Hugging Face dataset.

    Raises:
        ProblemError: it cannot be loaded.
    """
    import datasets

    name, _, configuration = source.partition(":")
    try:
        rows = datasets.load_dataset(name, configuration or None, split=split)
    except Exception as error:  # the hub raises many unrelated types
        raise ProblemError(f"cannot load dataset {source!r}, split {split!r}: {str(error).splitlines()[0]}") from error
    for number, row in enumerate(rows):
        yield f"{source}[{number}]", row


def as_problems(
    rows: Iterable[tuple[str, Mapping[str, Any]]], fields: Mapping[str, str], name: str, *, drop_repeats: bool = True
) -> Iterator[Problem]:
    """Checked problems; unless told otherwise, later repeats of a problem text are dropped.

    Raises:
        ProblemError: a row without problem or answer, or with one of the wrong kind.
    """
    seen: set[str] = set()
    ids: set[str] = set()
    for number, (place, row) in enumerate(rows):
        text = _text(row, "problem", fields, place).strip()
        answer = _gold(_text(row, "answer", fields, place))
        if len(text) > MAX_PROBLEM_CHARS:
            raise ProblemError(f"{place}: the problem has {len(text)} characters, more than {MAX_PROBLEM_CHARS}")
        if len(answer) > MAX_ANSWER_CHARS:
            raise ProblemError(f"{place}: the answer has {len(answer)} characters, more than {MAX_ANSWER_CHARS}")
        if drop_repeats and text in seen:
            continue
        seen.add(text)
        identifier = str(_find(row, "id", fields, default=f"{name}-{number}"))
        if identifier in ids:
            raise ProblemError(f"{place}: id {identifier!r} appears twice")
        ids.add(identifier)
        yield Problem(
            id=identifier,
            text=text,
            answer=answer,
            family=str(_find(row, "family", fields, default="")),
        )


def _text(row: Mapping[str, Any], field: str, fields: Mapping[str, str], place: str) -> str:
    value = _find(row, field, fields)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        known = ", ".join(map(str, row)) or "none"
        wanted = fields.get(field) or " or ".join(GUESSES[field])
        raise ProblemError(f"{place}: no {field} (looked for {wanted}; columns: {known})")
    if not isinstance(value, str) or not value.strip():
        raise ProblemError(f"{place}: {field} must be text that is not empty, got {value!r:.80}")
    return value


def _gold(answer: str) -> str:
    """The final answer; GSM8K's files hold the whole solution with the answer after `####`."""
    if "####" in answer:
        answer = answer.rsplit("####", 1)[1].replace(",", "")
    return answer.strip()


def _find(row: Mapping[str, Any], field: str, fields: Mapping[str, str], default: Any = None) -> Any:
    names = (fields[field],) if field in fields else GUESSES[field]
    for name in names:
        value: Any = row
        for part in name.split("."):
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                value = None
        if value is not None:
            return value
    return default
