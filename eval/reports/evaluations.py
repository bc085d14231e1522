"""Finished evaluations, read from their reports."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aepo_rllib.envs.tally import Tally
from aepo_rllib.eval.json_input import (
    MAX_JSON_BYTES,
    MAX_NAME_CHARS,
    anything,
    having,
    listed,
    mapped,
    number,
    one_of,
    optional,
    parse_object,
    read_object,
    shown,
    text,
    whole,
    within,
)
from aepo_rllib.eval.passk import pass_at_k_table
from aepo_rllib.eval.plan import MAX_SAMPLES, MAX_TEMPERATURE
from aepo_rllib.eval.spec import report_folder

PROBLEMS, SUMMARY = "problems.jsonl", "passk.json"
COUNTS = "counts"
"""Of a row in PROBLEMS: the `Tally` of the problem."""
VOTES = "maj"
"""Of a row in PROBLEMS: maj@k of the problem, by k."""
PARTS = ("family", "level")
"""Of a row in PROBLEMS: what problems can be told apart by."""
_K = re.compile(r"[1-9][0-9]{0,8}")
_TEXT = text(MAX_JSON_BYTES)


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        name: What it is called in tables.
        summary: The content of passk.json.
        counts: By suite and problem: (samples, correct ones).
        digests: By suite and problem: what tells it from others of that id. Reports of older versions have none.
        tallies: By suite and problem: how often each answer and path was given. Those of older versions do not tell.
        votes: By suite and problem: maj@k by k, None where it is undefined. Those of older versions do not tell.
        parts: By `PARTS`, suite and problem: its family or level, "" where it has none.
    """

    name: str
    summary: Mapping[str, Any]
    counts: Mapping[str, Mapping[str, tuple[int, int]]]
    digests: Mapping[str, Mapping[str, str]]
    tallies: Mapping[str, Mapping[str, Tally]]
    votes: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    parts: Mapping[str, Mapping[str, Mapping[str, str]]]

    def table(self, suite: str, ids: Sequence[str], ks: Sequence[int]) -> np.ndarray:
        """pass@k of these problems (P, K); nan where a problem has fewer than k samples."""
        n_P, counts_P = zip(*(self.counts[suite][identifier] for identifier in ids), strict=True)
        return pass_at_k_table(n_P, counts_P, ks)

    def vote_table(self, suite: str, ids: Sequence[str], ks: Sequence[int]) -> np.ndarray | None:
        """maj@k of these problems (P, K), nan where it is undefined; None where the reports do not tell each one's."""
        rows = [self.votes[suite].get(identifier, {}) for identifier in ids]
        if not all(str(k) in row for row in rows for k in ks):
            return None
        values = [[math.nan if (value := row[str(k)]) is None else value for k in ks] for row in rows]
        return np.array(values, dtype=float).reshape(len(ids), len(ks))


def read_evaluations(folders: Sequence[Path], labels: Sequence[str | None] | None = None) -> list[Evaluation]:
    """Evaluations from their report folders, or from the run folders around them. Whoever wrote them.

    Args:
        folders: Where they are.
        labels: What each is to be called; None by what tells its path from the others.

    Raises:
        ValueError: two of one name, a folder without reports, with reports that `aepo eval` cannot have written, or
            with two that do not belong together; names the file and the field.
        OSError: a file cannot be read.
    """
    told = labels or [None] * len(folders)
    names = [label or short for label, short in zip(told, short_names(folders), strict=True)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two evaluations are called {twice[0]!r}; give each a label of its own, as in label=folder")
    return [_read(_report_folder(folder), name) for folder, name in zip(folders, names, strict=True)]


def short_names(folders: Sequence[Path]) -> list[str]:
    """What tells paths apart: their parts without those that all of them share at either end.

    Raises:
        ValueError: two of them are one.
    """
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise ValueError("the same evaluation is named twice")
    shortest = min(map(len, parts))
    head = next(i for i in range(shortest + 1) if i == shortest or len({p[i] for p in parts}) > 1)
    tail = next(i for i in range(shortest + 1) if i == shortest - head or len({p[-1 - i] for p in parts}) > 1)
    return ["/".join(p[min(head, len(p) - 1 - tail) : len(p) - tail]) for p in parts]


def _report_folder(folder: Path) -> Path:
    place = report_folder(folder, SUMMARY, PROBLEMS)
    if not (place / SUMMARY).is_file() or not (place / PROBLEMS).is_file():
        raise ValueError(f"{folder} holds no evaluation: no {SUMMARY} and {PROBLEMS} in it; see aepo eval")
    return place


def _read(folder: Path, name: str) -> Evaluation:
    try:
        summary = read_object(folder / SUMMARY)
        with within(folder / SUMMARY):
            _SUMMARY(summary)
            with within("evaluation"), within("problems"):
                having(dict.fromkeys(summary["suites"], _TEXT))(summary["evaluation"]["problems"])
        found = _read_problems(folder / PROBLEMS, list(summary["suites"]))
        for suite, scores in summary["suites"].items():
            with within(folder / PROBLEMS), within(shown(suite)):
                _check_belongs(scores, list(found.counts[suite].values()))
    except ValueError as error:
        raise ValueError(f"{error}; `aepo regrade` writes the reports anew") from error
    return Evaluation(name, summary, *found)


class _Problems(NamedTuple):
    """What rows tell, as in `Evaluation`."""

    counts: dict[str, dict[str, tuple[int, int]]]
    digests: dict[str, dict[str, str]]
    tallies: dict[str, dict[str, Tally]]
    votes: dict[str, dict[str, dict[str, float | None]]]
    parts: dict[str, dict[str, dict[str, str]]]

    @classmethod
    def none_of(cls, suites: Sequence[str]) -> _Problems:
        """Before a row is read."""

        def each_suite() -> dict[str, Any]:
            return {suite: {} for suite in suites}

        return cls(each_suite(), each_suite(), each_suite(), each_suite(), {part: each_suite() for part in PARTS})


def _read_problems(file: Path, suites: Sequence[str]) -> _Problems:
    found = _Problems.none_of(suites)
    must = {"suite": one_of(suites), "id": _TEXT, "n": whole(0, MAX_SAMPLES), "correct": whole(0, MAX_SAMPLES)}
    names = dict.fromkeys(PARTS, _TEXT)
    check = having(must, {"digest": text(MAX_NAME_CHARS), COUNTS: _COUNTS, VOTES: _VOTES, **names})
    with file.open("rb") as lines:
        for line_number, line in enumerate(iter(partial(lines.readline, MAX_JSON_BYTES + 1), b""), start=1):
            row = parse_object(line, place := f"{file}:{line_number}")
            with within(place):
                check(row)
                if row["correct"] > row["n"]:
                    raise ValueError(f"correct: {row['correct']} of {row['n']} samples")
                suite, identifier = row["suite"], row["id"]
                if identifier in found.counts[suite]:
                    raise ValueError(f"id: {shown(identifier)} a second time")
                if COUNTS in row:
                    with within(COUNTS):
                        found.tallies[suite][identifier] = _tally(row)
            found.counts[suite][identifier] = (row["n"], row["correct"])
            found.digests[suite][identifier] = row.get("digest", "")
            found.votes[suite][identifier] = row.get(VOTES, {})
            for part in PARTS:
                found.parts[part][suite][identifier] = row.get(part, "")
    return found


def _tally(row: Mapping[str, Any]) -> Tally:
    """The tally of a problem; refuses counts that no samples can have."""
    tally = Tally(row["n"], *(tuple(row[COUNTS][name]) for name in _TALLIED))
    correct, walked = sum(tally.correct_answers), sum(tally.correct_paths)
    if sum(tally.answers) > tally.n or correct > row["correct"] or walked != row["correct"]:
        raise ValueError(
            f"{sum(tally.answers)} answers, {correct} of them correct, and {walked} paths of {tally.n} samples, "
            f"{row['correct']} of them correct"
        )
    return tally


def _check_belongs(scores: Mapping[str, Any], counts: Sequence[tuple[int, int]]) -> None:
    """Refuse rows that are not those of the scores: some were lost, or one of the two files is older."""
    if len(counts) != scores["problems"]:
        raise ValueError(f"{len(counts)} problems here, {scores['problems']} in {SUMMARY}")
    mean = math.fsum(correct / n for n, correct in counts) / len(counts) if all(n for n, _ in counts) else None
    if scores["avg@n"] is not None and (mean is None or abs(mean - scores["avg@n"]) > 1e-9):
        raise ValueError(f"their avg@n is {mean}, in {SUMMARY} it is {scores['avg@n']}")


def _points(value: Any) -> None:
    """Scores by k."""
    mapped(anything)(value)
    for k in value:
        if not _K.fullmatch(k):
            raise ValueError(f"must have values of k for names, got {shown(k)}")


_TALLIED = [name for name in Tally._fields if name != "n"]
_COUNTS = having(dict.fromkeys(_TALLIED, listed(whole(1, MAX_SAMPLES), empty=True)))
_SCORES = having(
    {"version": text(MAX_NAME_CHARS), "problems": whole(1, 10**9), "avg@n": optional(number(0, 1)), "k": _points},
    {
        "temperature": number(0, MAX_TEMPERATURE),
        "top_p": number(0, 1),
        "max_gen_toks": whole(1, 10**9),
        "judged_by": listed(text(MAX_NAME_CHARS)),
        "maj": mapped(optional(number(0, 1))),
    },
)
_VOTES = mapped(optional(number(0, 1)))
_NAME = optional(text(MAX_NAME_CHARS))
_SUMMARY = having(
    {
        "evaluation": having(
            {"template": optional(_TEXT), "grader": _NAME, "problems": mapped(anything)},
            {"first_prompts": mapped(_TEXT)},
        ),
        "suites": mapped(_SCORES),
    },
    {"grading_rules": whole(1, 10**6)},
)
