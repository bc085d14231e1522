"""The problems of one's own that an evaluation was made with: plain data in its folder, whoever made that.

They are a copy, so that samples can be graded again wherever the folder is, and nothing in it names a file elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aepo_rllib.envs.grading import VERIFIERS
from aepo_rllib.envs.grading.rewards import GROUP
from aepo_rllib.envs.problems import Problem
from aepo_rllib.eval.data import as_doc, as_problem
from aepo_rllib.eval.json_input import MAX_JSON_BYTES, Check, check_fields, parse_object, shown, text, within
from aepo_rllib.eval.known_names import check_trusted
from aepo_rllib.support.locks import write_atomically
from aepo_rllib.support.plugins import is_own, known

FOLDER = "problem_sets"


def write_problem_set(folder: Path, name: str, problems: Iterable[Problem]) -> None:
    """Keep a problem set in the folder of its evaluation.

    Raises:
        OSError: it cannot be written.
    """
    file = _file(folder, name)
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, "".join(json.dumps(as_doc(problem)) + "\n" for problem in problems))


def read_problem_set(folder: Path, name: str, grader: str | None) -> list[Problem]:
    """A problem set as it was kept. Every field is checked, and no function that it names is loaded.

    Args:
        folder: Of the evaluation.
        name: Of the set.
        grader: What the user wants to judge by, if anything.

    Raises:
        ValueError: there is none, a line that is no problem, or a function to judge by that the user has not named;
            names file and line.
        OSError: it cannot be read.
    """
    file = _file(folder, name)
    if not file.is_file():
        raise ValueError(f"{file} is not there; the same `aepo eval` writes it")
    problems = []
    with file.open("rb") as lines:
        for number, line in enumerate(iter(partial(lines.readline, MAX_JSON_BYTES + 1), b""), start=1):
            doc = parse_object(line, place := f"{file}:{number}")
            with within(place):
                check_fields(doc, _DOC)
            check_trusted(doc["verifier"], grader, place)
            problems.append(as_problem(doc))
    if not problems:
        raise ValueError(f"{file}: no problems in it")
    return problems


def remove_problem_sets(folder: Path) -> None:
    """Remove those of an evaluation that another one replaces."""
    for file in (folder / FOLDER).glob("*.jsonl"):
        file.unlink()


def _file(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.jsonl"


def _verifier(value: Any) -> None:
    _TEXT(value)
    if value not in known(VERIFIERS, GROUP) and not is_own(value):
        raise ValueError(f"unknown verifier {shown(value)}")


def _extra(value: Any) -> None:
    _TEXT(value)
    parse_object(value.encode(), "its content")


def _turns(value: Any) -> None:
    _TEXT(value)
    turns = parse_object(b'{"turns": ' + value.encode() + b"}", "its content")["turns"]
    pairs = isinstance(turns, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in turns)
    if not pairs or not all(isinstance(part, str) for turn in turns for part in turn):
        raise ValueError(f"must be pairs of role and content, got {shown(value)}")


_TEXT = text(MAX_JSON_BYTES)
_DOC: Mapping[str, Check] = {
    "id": _TEXT,
    "problem": _TEXT,
    "answer": _TEXT,
    "verifier": _verifier,
    "family": _TEXT,
    "extra": _extra,
    "turns": _turns,
}
"""See `aepo_rllib.eval.data.as_doc`."""
