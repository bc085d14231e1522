"""Problem sets as lm-eval documents, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets

from aepo_rllib.envs.grading import check_form, get_verifier
from aepo_rllib.envs.problems import (
    DATA_DIR_VARIABLE,
    Problem,
    ProblemError,
    ProblemSet,
    find_file,
    is_procedural,
    load_problems,
)
from aepo_rllib.envs.prompts import form_of
from aepo_rllib.support.plugins import is_own

DEFAULT_TEMPLATE = "boxed"
"""Asks for a boxed answer; a suite's YAML may name another."""
Turns = tuple[tuple[str, str], ...]
"""(role, content) of what a chat says before a problem."""


def load_docs(
    source: str | None = None,
    *,
    file: str | None = None,
    hub: str | None = None,
    split: str = "test",
    fields: Mapping[str, str] | None = None,
    verifier: str | None = None,
    grader: str | None = None,
    template: str | None = None,
    answer_form: str | None = None,
    config_source: str | None = None,
    **_: Any,
) -> dict[str, datasets.Dataset]:
    """The documents of a suite, under the one split name that the tasks use: "test".

    Args:
        source: Problems of one's own, or a procedural set: whatever `aepo_rllib.envs.load_problems` takes. A relative
            path is looked for beside the YAML file first. Or else:
        file: Name of a `.jsonl` file in `AEPO_DATA_DIR`, taken where it exists.
        hub: Hugging Face dataset id, taken otherwise.
        split: Of the source, or of the Hugging Face set.
        fields: Which column of it holds what.
        verifier: The suite's own way to judge answers; that of a row in a source goes before it.
        grader: Another one, wanted for this run; problems that no algebra can judge (Countdown) keep theirs.
        template: Name of the prompt template, which says in which form answers are stated.
        answer_form: That form, for prompts that no template makes.
        config_source: The YAML file of the suite; lm-eval names it.
        _: lm-eval passes a task's whole metadata along.

    Raises:
        aepo_rllib.envs.ProblemError: the set cannot be used.
        ValueError: unknown verifier or template, or a verifier that does not read the form the template asks for.
    """
    form = _Form.of(template, answer_form)
    if source:
        problems = load_problems(_beside(config_source, source), split=split, fields=fields, verifier=verifier)
        return _as_docs(problems, None, grader, form)
    return _as_docs(_benchmark(file or "", hub, split, fields), verifier, grader, form)


class GivenProblems:
    """`custom_dataset` of a suite whose problems are at hand.

    Args:
        problems: They.
    """

    def __init__(self, problems: ProblemSet) -> None:
        self.problems = problems

    def __call__(
        self, *, grader: str | None = None, template: str | None = None, answer_form: str | None = None, **_: Any
    ) -> dict[str, datasets.Dataset]:
        """As `load_docs`."""
        return _as_docs(self.problems, None, grader, _Form.of(template, answer_form))

    def __repr__(self) -> str:
        """What lm-eval writes into its results."""
        return f"{len(self.problems)} problems of the user's own"


class _Form(NamedTuple):
    """In which form answers are stated, and the template that asks for it."""

    name: str
    template: str

    @classmethod
    def of(cls, template: str | None, answer_form: str | None) -> _Form:
        name = template or DEFAULT_TEMPLATE
        return cls(form_of(name, answer_form), name)


def as_doc(problem: Problem) -> dict[str, str]:
    """A problem as a document: strings only, so that all rows of a table have one schema."""
    return {
        "id": problem.id,
        "problem": problem.text,
        "answer": problem.answer,
        "verifier": problem.verifier,
        "family": problem.family,
        "extra": json.dumps(dict(problem.extra)),
        "turns": json.dumps(problem.turns),
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
        turns=turns_of(doc),
    )


def turns_of(doc: Mapping[str, str]) -> Turns:
    """(role, content) of what a chat says before the problem of a document."""
    return tuple((role, content) for role, content in json.loads(doc.get("turns", "[]")))


def docs_digest(docs: Iterable[Mapping[str, str]]) -> str:
    """What tells problem sets apart: ids, texts, known answers, turns. Not the grader, which may change."""
    digest = hashlib.sha256()
    for doc in docs:
        turns = turns_of(doc)
        told = [doc["id"], doc["problem"], doc["answer"], doc["extra"], *([turns] if turns else [])]
        digest.update(json.dumps(told).encode())
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


def _beside(config_source: str | None, source: str) -> str:
    """Where a path in a YAML file leads."""
    own = is_procedural(source) and is_own(source)
    if config_source is None or (is_procedural(source) and not own):
        return source
    place, colon, name = source.rpartition(":") if own else (source, "", "")
    path = Path(config_source).parent / place
    return f"{path}{colon}{name}" if path.exists() else source


def _as_docs(
    problems: ProblemSet, verifier: str | None, grader: str | None, form: _Form
) -> dict[str, datasets.Dataset]:
    judged = [_judged_by(problem, verifier, grader) for problem in problems]
    for name in sorted({problem.verifier for problem in judged}):
        check_form(form.name, name, form.template)
    return {"test": datasets.Dataset.from_list([as_doc(problem) | {"answer_form": form.name} for problem in judged])}


def _judged_by(problem: Problem, verifier: str | None, grader: str | None) -> Problem:
    if not is_own(problem.verifier):  # or nothing is to be loaded yet
        known = get_verifier(problem.verifier)
        if known.judge is not None and not known.compares:
            return problem
    wanted = grader or verifier or problem.verifier
    get_verifier(wanted)
    return replace(problem, verifier=wanted)
