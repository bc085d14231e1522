"""Grading and scoring of samples, as the tasks' YAML files name them.

Grading is a filter, not a metric: a filter sees all samples of a task at once, so that equal answers are judged once
and slow ones in parallel, and what later steps carry is a verdict instead of a text.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import islice
from typing import Any

from aepo_rllib.envs.grading import DEFAULT_FORM, Grader
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.data import as_problem
from aepo_rllib.eval.majority import maj_at_k
from aepo_rllib.eval.passk import pass_at_k, powers_of_two
from aepo_rllib.eval.sampling.samples import MissingSample, texts_of

Sample = list[Any]
"""[verdict, answer, truncated, tokens]: a list, because lm-eval writes anything but lists to its files as one string.

The answer is "" where there is none; truncated and tokens are None where the model does not tell.
"""


def grade_samples(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[Sample]]:
    """The filter: every completion of every document becomes a `Sample`.

    Completions that know whether they were cut at the token limit, and how long they are, say so in attributes.
    """
    drawn = [[text for text in texts if not isinstance(text, MissingSample)] for texts in resps]
    problems = [as_problem(doc) for doc in docs]
    form = docs[0].get("answer_form", DEFAULT_FORM) if docs else DEFAULT_FORM
    with Grader(workers=min(os.cpu_count() or 1, 8)) as grader:
        grades = iter(
            grader.grade_batch(
                [problem for problem, texts in zip(problems, drawn, strict=True) for _ in texts],
                texts_of(text for texts in drawn for text in texts),
                form=form,
            )
        )
    return [
        [
            [grade.verdict.value, grade.answer or "", getattr(text, "truncated", None), getattr(text, "tokens", None)]
            for text, grade in zip(texts, islice(grades, len(texts)), strict=True)
        ]
        for texts in drawn
    ]


def pass_at_ks(
    references: list[str], predictions: list[list[Sample]], k: Sequence[int] | None = None
) -> dict[str, float]:
    """The metric: pass@k of one problem, for every power of two up to n unless told otherwise.

    A k above the problem's number of samples gives nan, never the value of a smaller k.
    """
    n, correct = len(predictions[0]), sum(_correct(predictions[0]))
    return {f"pass@{k}": pass_at_k(n, correct, k) if k <= n else math.nan for k in k or powers_of_two(n)}


def majority(references: list[str], predictions: list[list[Sample]], n: int | None = None) -> dict[str, float]:
    """The metric: maj@n, whether the most frequent answer of all samples is correct."""
    samples = predictions[0]
    n = n or len(samples)
    return {f"maj@{n}": float(maj_at_k([answer for _, answer, *_ in samples], _correct(samples), [n])[0])}


def no_answer(references: list[str], predictions: list[list[Sample]]) -> float:
    """The metric: share of a problem's samples without a final answer."""
    return _share(predictions[0], Verdict.NO_ANSWER)


def not_judged(references: list[str], predictions: list[list[Sample]]) -> float:
    """The metric: share of a problem's samples whose grader timed out or crashed. They count as not correct."""
    return _share(predictions[0], Verdict.TIMED_OUT, Verdict.CRASHED)


def _correct(samples: Sequence[Sample]) -> list[bool]:
    return [verdict == Verdict.CORRECT.value for verdict, *_ in samples]


def _share(samples: list[Sample], *verdicts: Verdict) -> float:
    wanted = {verdict.value for verdict in verdicts}
    return sum(verdict in wanted for verdict, *_ in samples) / len(samples) if samples else math.nan
