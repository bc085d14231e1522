"""The ways to judge an answer, by the name a problem or a suite calls them.

A verifier reads the answer out of a completion and judges it at once where that is cheap and safe. Where it cannot
tell, the answer is compared with `problem.answer` in a worker process, by the rule of the verifier's name
(`aepo_rllib.envs.grading.rules`). To add one, enter it in both tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aepo_rllib.envs.grading.answers import extract_answer
from aepo_rllib.envs.grading.expression import check_countdown
from aepo_rllib.envs.grading.literals import literal_verdict, numeric_verdict, percent_verdict
from aepo_rllib.envs.grading.qwen_text import extract_final, judge_spelling
from aepo_rllib.envs.problems.problem import Problem


def literal(problem: Problem, answer: str) -> bool | None:
    """Whether spelling alone shows that the answer is, or is not, the known one."""
    return literal_verdict(problem.answer, answer)


def percent(problem: Problem, answer: str) -> bool | None:
    """The same where a percent sign has a meaning."""
    return percent_verdict(problem.answer, answer)


def numeric(problem: Problem, answer: str) -> bool | None:
    """The same for plainly written numbers, with their rule's tolerance."""
    return numeric_verdict(problem.answer, answer)


def countdown(problem: Problem, answer: str) -> bool:
    """The answer has to use each of `extra["numbers"]` once and equal `extra["target"]`."""
    return check_countdown(answer, problem.extra["numbers"], problem.extra["target"])


@dataclass(frozen=True)
class Verifier:
    """One way to judge.

    Attributes:
        name: As problems and suites call it.
        judge: The verdict if it is cheap and safe to reach; None asks for a comparison.
        compares: Whether there is a rule of this name for what `judge` leaves open.
        extract: Reads the final answer out of a completion; None where there is none.
    """

    name: str
    judge: Callable[[Problem, str], bool | None]
    compares: bool = True
    extract: Callable[[str], str | None] = extract_answer


VERIFIERS: Mapping[str, Verifier] = {
    verifier.name: verifier
    for verifier in (
        Verifier("math", literal),
        Verifier("math-percent", percent),
        Verifier("math-numeric", numeric),
        Verifier("countdown", countdown, compares=False),
        Verifier("qwen2.5-math", judge_spelling, extract=extract_final),
    )
}


def get_verifier(name: str) -> Verifier:
    """The verifier of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in VERIFIERS:
        raise ValueError(f"unknown verifier {name!r}; known: {', '.join(sorted(VERIFIERS))}")
    return VERIFIERS[name]


def verifier_of(problem: Problem) -> Verifier:
    """The verifier that `problem` names.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return get_verifier(problem.verifier)
    except ValueError as error:
        raise ValueError(f"problem {problem.id}: {error}") from None
