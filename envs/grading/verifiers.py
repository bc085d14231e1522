"""The rules that judge an answer, by the name a problem calls them.

A rule answers at once where that is cheap and safe, and returns None to ask for a comparison of the answer
with `problem.answer` in a worker process. To add a rule, write a function and enter it in `VERIFIERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aepo_rllib.envs.grading.expression import check_countdown
from aepo_rllib.envs.grading.literals import literal_verdict
from aepo_rllib.envs.problems.problem import Problem

Verifier = Callable[[Problem, str], "bool | None"]


def math(problem: Problem, answer: str) -> bool | None:
    """The answer has to mean the same as the known one."""
    return literal_verdict(problem.answer, answer)


def countdown(problem: Problem, answer: str) -> bool:
    """The answer has to use each of `extra["numbers"]` once and equal `extra["target"]`."""
    return check_countdown(answer, problem.extra["numbers"], problem.extra["target"])


VERIFIERS: Mapping[str, Verifier] = {"countdown": countdown, "math": math}


def verifier_of(problem: Problem) -> Verifier:
    """The rule that `problem` names.

    Raises:
        ValueError: there is none of that name.
    """
    if problem.verifier not in VERIFIERS:
        known = ", ".join(sorted(VERIFIERS))
        raise ValueError(f"problem {problem.id}: unknown verifier {problem.verifier!r}; known: {known}")
    return VERIFIERS[problem.verifier]
