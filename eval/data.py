"""Problem sets as lm-eval documents, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import datasets

from aepo_rllib.envs.problems import Problem, load_problems


def load_docs(source: str, split: str = "test", **_: Any) -> dict[str, datasets.Dataset]:
    """The documents of a suite, under the one split name that the tasks use: "test".

    Args:
        source: See `aepo_rllib.envs.load_problems`.
        split: Of the source.
        _: lm-eval passes a task's whole metadata along.

    Raises:
        aepo_rllib.envs.ProblemError: the source cannot be used.
    """
    return {"test": datasets.Dataset.from_list([as_doc(problem) for problem in load_problems(source, split=split)])}


def as_doc(problem: Problem) -> dict[str, str]:
    """A problem as a document: strings only, so that all rows of a table have one schema."""
    return {
        "id": problem.id,
        "problem": problem.text,
        "answer": problem.answer,
        "verifier": problem.verifier,
        "family": problem.family,
        "extra": json.dumps(dict(problem.extra)),
    }


def as_problem(doc: Mapping[str, str]) -> Problem:
    """The problem behind a document."""
    return Problem(
        id=doc["id"],
        text=doc["problem"],
        answer=doc["answer"],
        verifier=doc["verifier"],
        family=doc["family"],
        extra=json.loads(doc["extra"]),
    )
