"""Grading and scoring of samples, as the tasks' YAML files name them.

Grading is a filter, not a metric: a filter sees all samples of a task at once, so that equal answers are judged once
and slow ones in parallel, and what later steps carry is a verdict instead of a text.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import compress, islice
from typing import Any

from aepo_rllib.envs.content_path import path_key
from aepo_rllib.envs.grading import DEFAULT_FORM, Grade, Grader
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.data import as_problem
from aepo_rllib.eval.diversity import MEASURES
from aepo_rllib.eval.graded import GradedSample, tally_of
from aepo_rllib.eval.majority import maj_at_k
from aepo_rllib.eval.passk import pass_at_k, powers_of_two
from aepo_rllib.eval.sampling.lazy_texts import MissingSample, texts_of

Predictions = Sequence[Sequence[Sequence[Any]]]
"""What lm-eval hands to a metric: a list with the samples of one problem, as the filter made them or as lists."""


def grade_samples(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[GradedSample]]:
    """The filter: every completion of every document becomes a `GradedSample`.

    Completions that know whether they were cut at the token limit, and how long they are, say so in attributes.
    """
    drawn = [[text for text in texts if not isinstance(text, MissingSample)] for texts in resps]
    texts = [text for of_problem in drawn for text in of_problem]
    problems = [as_problem(doc) for doc in docs]
    form = docs[0].get("answer_form", DEFAULT_FORM) if docs else DEFAULT_FORM
    with Grader(workers=min(os.cpu_count() or 1, 8)) as grader:
        grades = grader.grade_batch(
            [problem for problem, of_problem in zip(problems, drawn, strict=True) for _ in of_problem],
            texts_of(texts),
            form=form,
        )
    right = [grade.verdict is Verdict.CORRECT for grade in grades]
    paths = map(path_key, texts_of(compress(texts, right)))
    graded = (
        _graded(text, grade, next(paths) if correct else "")
        for text, grade, correct in zip(texts, grades, right, strict=True)
    )
    return [list(islice(graded, len(of_problem))) for of_problem in drawn]


def _graded(text: str, grade: Grade, path: str) -> GradedSample:
    told = getattr(text, "truncated", None), getattr(text, "tokens", None)
    return GradedSample(grade.verdict.value, grade.answer or "", *told, path)


def pass_at_ks(references: list[str], predictions: Predictions, k: Sequence[int] | None = None) -> dict[str, float]:
    """The metric: pass@k of one problem, for every power of two up to n unless told otherwise.

    A k above the problem's number of samples gives nan, never the value of a smaller k.
    """
    n, correct = len(predictions[0]), sum(sample.correct for sample in _samples(predictions))
    return {f"pass@{k}": pass_at_k(n, correct, k) if k <= n else math.nan for k in k or powers_of_two(n)}


def majority(references: list[str], predictions: Predictions, n: int | None = None) -> dict[str, float]:
    """The metric: maj@n, whether the most frequent answer of all samples is correct."""
    samples = _samples(predictions)
    n = n or len(samples)
    votes = maj_at_k([sample.answer for sample in samples], [sample.correct for sample in samples], [n])
    return {f"maj@{n}": float(votes[0])}


def diversity(references: list[str], predictions: Predictions, k: Sequence[int] | None = None) -> dict[str, float]:
    """The metric: entropy of a problem's answers in nats, and how many correct ones, and ways to them, k samples hold.

    See `aepo_rllib.envs.tally.Tally`. Values of k as in `pass_at_ks`.
    """
    samples = _samples(predictions)
    tally, ks = tally_of(samples), k or powers_of_two(len(samples))
    figures = {"answer_entropy": float(MEASURES["answer_entropy"].table([tally], ks)[0, 0])}
    for what in ("correct_answers", "correct_paths"):
        values = MEASURES[what].table([tally], ks)[0].tolist()
        figures |= {f"distinct_{what}@{k}": value for k, value in zip(ks, values, strict=True)}
    return figures


def no_answer(references: list[str], predictions: Predictions) -> float:
    """The metric: share of a problem's samples without a final answer."""
    return _share(_samples(predictions), Verdict.NO_ANSWER)


def not_judged(references: list[str], predictions: Predictions) -> float:
    """The metric: share of a problem's samples whose grader timed out or crashed. They count as not correct."""
    return _share(_samples(predictions), Verdict.TIMED_OUT, Verdict.CRASHED)


def _samples(predictions: Predictions) -> list[GradedSample]:
    return [GradedSample(*entry) for entry in predictions[0]]


def _share(samples: Sequence[GradedSample], *verdicts: Verdict) -> float:
    wanted = {verdict.value for verdict in verdicts}
    return sum(sample.verdict in wanted for sample in samples) / len(samples) if samples else math.nan
