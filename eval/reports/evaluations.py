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
    """

    name: str
    summary: Mapping[str, Any]
    counts: Mapping[str, Mapping[str, tuple[int, int]]]
    digests: Mapping[str, Mapping[str, str]]
    tallies: Mapping[str, Mapping[str, Tally]]

    def table(self, suite: str, ids: Sequence[str], ks: Sequence[int]) -> np.ndarray:
        """pass@k of these problems (P, K); nan where a problem has fewer than k samples."""
        n_P, counts_P = zip(*(self.counts[suite][identifier] for identifier in ids), strict=True)
        return pass_at_k_table(n_P, counts_P, ks)


def read_evaluations(folders: Sequence[Path]) -> list[Evaluation]:
    """Evaluations from their report folders, or from the run folders around them. Whoever wrote them.

    Raises:
        ValueError: a folder without reports, with reports that `aepo eval` cannot have written, or with two that do not
            belong together; names the file and the field.
        OSError: a file cannot be read.
    """
    return [_read(_report_folder(folder), name) for folder, name in zip(folders, short_names(folders), strict=True)]


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
        counts, digests, tallies = _read_problems(folder / PROBLEMS, list(summary["suites"]))
        for suite, scores in summary["suites"].items():
            with within(folder / PROBLEMS), within(shown(suite)):
                _check_belongs(scores, list(counts[suite].values()))
    except ValueError as error:
        raise ValueError(f"{error}; `aepo regrade` writes the reports anew") from error
    return Evaluation(name, summary, counts, digests, tallies)


class _Problems(NamedTuple):
    """(samples, correct ones), digest, and tally where there is one, by suite and problem."""

    counts: dict[str, dict[str, tuple[int, int]]]
    digests: dict[str, dict[str, str]]
    tallies: dict[str, dict[str, Tally]]


def _read_problems(file: Path, suites: Sequence[str]) -> _Problems:
    counts, digests, tallies = found = _Problems(
        {suite: {} for suite in suites}, {suite: {} for suite in suites}, {suite: {} for suite in suites}
    )
    must = {"suite": one_of(suites), "id": _TEXT, "n": whole(0, MAX_SAMPLES), "correct": whole(0, MAX_SAMPLES)}
    check = having(must, {"digest": text(MAX_NAME_CHARS), COUNTS: _COUNTS})
    with file.open("rb") as lines:
        for line_number, line in enumerate(iter(partial(lines.readline, MAX_JSON_BYTES + 1), b""), start=1):
            row = parse_object(line, place := f"{file}:{line_number}")
            with within(place):
                check(row)
                if row["correct"] > row["n"]:
                    raise ValueError(f"correct: {row['correct']} of {row['n']} samples")
                if row["id"] in counts[row["suite"]]:
                    raise ValueError(f"id: {shown(row['id'])} a second time")
                if COUNTS in row:
                    with within(COUNTS):
                        tallies[row["suite"]][row["id"]] = _tally(row)
            counts[row["suite"]][row["id"]] = (row["n"], row["correct"])
            digests[row["suite"]][row["id"]] = row.get("digest", "")
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
    },
)
_NAME = optional(text(MAX_NAME_CHARS))
_SUMMARY = having(
    {
        "evaluation": having({"template": _NAME, "grader": _NAME, "problems": mapped(anything)}),
        "suites": mapped(_SCORES),
    },
    {"grading_rules": whole(1, 10**6)},
)
