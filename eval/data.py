"""Problem sets as lm-eval documents, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import datasets

from aepo_rllib.envs.grading import get_verifier
from aepo_rllib.envs.problems import DATA_DIR_VARIABLE, Problem, ProblemError, ProblemSet, find_file, load_problems


def load_docs(
    source: str | None = None,
    *,
    file: str | None = None,
    hub: str | None = None,
    split: str = "test",
    fields: Mapping[str, str] | None = None,
    verifier: str | None = None,
    grader: str | None = None,
    **_: Any,
) -> dict[str, datasets.Dataset]:
    """The documents of a suite, under the one split name that the tasks use: "test".

    Args:
        source: A procedural set, see `aepo_rllib.envs.load_problems`; or else:
        file: Name of a `.jsonl` file in `AEPO_DATA_DIR`, taken where it exists.
        hub: Hugging Face dataset id, taken otherwise.
        split: Of the procedural or Hugging Face set.
        fields: Which column of the Hugging Face set holds what.
        verifier: The suite's own way to judge answers.
        grader: Another one, wanted for this run; problems that no algebra can judge (Countdown) keep theirs.
        _: lm-eval passes a task's whole metadata along.

    Raises:
        aepo_rllib.envs.ProblemError: the set cannot be used.
        ValueError: unknown verifier.
    """
    problems = load_problems(source, split=split) if source else _benchmark(file or "", hub, split, fields)
    docs = [as_doc(_judged_by(problem, verifier, grader)) for problem in problems]
    return {"test": datasets.Dataset.from_list(docs)}


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


def docs_digest(docs: Iterable[Mapping[str, str]]) -> str:
    """What tells problem sets apart: ids, texts and known answers. Not the grader, which may change."""
    digest = hashlib.sha256()
    for doc in docs:
        digest.update(json.dumps([doc["id"], doc["problem"], doc["answer"], doc["extra"]]).encode())
    return digest.hexdigest()[:16]


def _benchmark(file: str, hub: str | None, split: str, fields: Mapping[str, str] | None) -> ProblemSet:
    """A published set, with the repeated problems it was published with."""
    if find_file(file):
        return load_problems(file, drop_repeats=False)
    here = f"there is no {file}.jsonl in the folder that {DATA_DIR_VARIABLE} names"
    if hub is None:
        raise ProblemError(f"{here}, and no Hugging Face dataset is known to hold this suite; see docs/suites.md")
    try:
        return load_problems(hub, split=split, fields=fields, drop_repeats=False)
    except ProblemError as error:
        raise ProblemError(f"{here}, and {error}") from error


def _judged_by(problem: Problem, verifier: str | None, grader: str | None) -> Problem:
    if not get_verifier(problem.verifier).compares:
        return problem
    wanted = get_verifier(grader or verifier or problem.verifier)
    return replace(problem, verifier=wanted.name)
