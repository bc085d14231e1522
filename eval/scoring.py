"""Grading and scoring of samples, as the tasks' YAML files name them.

Grading is a filter, not a metric: a filter sees all samples of a task at once, so that equal answers are judged once
and slow ones in parallel, and what later steps carry is a verdict instead of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.eval.data import as_problem
from aepo_rllib.eval.passk import pass_at_k, powers_of_two

Sample = list[Any]
"""[verdict, answer, truncated]: a list, because lm-eval writes anything but lists to its files as one string.

The answer is "" where there is none; truncated is None where the model does not tell.
"""


def grade_samples(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[Sample]]:
    """The filter: every completion of every document becomes a `Sample`.

    Completions that know whether they were cut at the token limit say so in an attribute `truncated`.
    """
    problems = [as_problem(doc) for doc in docs]
    with Grader() as grader:
        grades = iter(
            grader.grade_batch(
                [problem for problem, texts in zip(problems, resps, strict=True) for _ in texts],
                [text for texts in resps for text in texts],
            )
        )
    return [
        [
            [grade.verdict.value, grade.answer or "", getattr(text, "truncated", None)]
            for text, grade in zip(texts, islice(grades, len(texts)), strict=True)
        ]
        for texts in resps
    ]


def pass_at_ks(
    references: list[str], predictions: list[list[Sample]], k: Sequence[int] | None = None
) -> dict[str, float]:
    """The metric: pass@k of one problem, for every power of two up to n unless told otherwise.

    Raises:
        ValueError: a k above the number of samples.
    """
    samples = predictions[0]
    correct = sum(verdict == Verdict.CORRECT.value for verdict, *_ in samples)
    return {f"pass@{k}": pass_at_k(len(samples), correct, k) for k in k or powers_of_two(len(samples))}


def no_answer(references: list[str], predictions: list[list[Sample]]) -> float:
    """The metric: share of a problem's samples without a final answer."""
    return _share(predictions[0], Verdict.NO_ANSWER)


def not_judged(references: list[str], predictions: list[list[Sample]]) -> float:
    """The metric: share of a problem's samples whose grader timed out or crashed. They count as not correct."""
    return _share(predictions[0], Verdict.TIMED_OUT, Verdict.CRASHED)


def _share(samples: list[Sample], *verdicts: Verdict) -> float:
    wanted = {verdict.value for verdict in verdicts}
    return sum(verdict in wanted for verdict, *_ in samples) / len(samples)
