r"""The rules that compare two answers inside a worker process.

    math          mathematical equality; percent signs are ignored, as in the grader of MATH: asked "what percent",
                  both `20` and `20\%` are answers
    math-percent  the same, and a number with a percent sign may also be given by its value: `62.5\%` by `0.625`
    math-numeric  the same, and numbers may differ by 1 % of the known one: for problems of physics and chemistry
    spelled       no comparison: whether the known answer is a text, which nothing but its spelling can equal
    qwen2.5-math  what the published evaluation of Qwen2.5-Math counts as equal, lenient and crude

They may take unlimited time and memory; see `aepo_rllib.envs.grading.worker`. A verifier says which one is its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from aepo_rllib.envs.grading.literals import close, numeric_verdict
from aepo_rllib.envs.grading.service import at_once
from aepo_rllib.envs.grading.symbolic import math_equal, only_spelled, quantity
from aepo_rllib.envs.grading.verifiers import SPELLED, get_verifier
from aepo_rllib.envs.problems.problem import Problem
from aepo_rllib.envs.prompts import DEFAULT_FORM
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.support.plugins import load

Rule = Callable[[str, str], bool]
"""From known and given answer to whether they are equal."""


def math_percent(gold: str, answer: str) -> bool:
    """Equality with or without the meaning of a percent sign."""
    if math_equal(gold, answer):
        return True
    values = _value(gold), _value(answer)
    return (values[0] == gold) != (values[1] == answer) and math_equal(*values)


def math_numeric(gold: str, answer: str) -> bool:
    """Equality, of numbers in the same unit up to the tolerance."""
    if numeric_verdict(gold, answer) or math_percent(gold, answer):
        return True
    known, given = quantity(gold), quantity(answer)
    if known is None or given is None or (known.unit and given.unit and known.unit != given.unit):
        return False
    return close(known.value, given.value)


def judge(problem: Problem, completion: str, *, verifier: str = "math", form: str | None = None) -> bool:
    """Whether a completion answers its problem, judged in this very process, without a deadline.

    For reward functions of the user's own, which run in a worker process already.

    Args:
        problem: With the known answer.
        completion: Text of a model.
        verifier: Name of the rule.
        form: In which the answer is stated, see `aepo_rllib.envs.grading.answers`; default the one that the completion
            says it was asked for, else a box.

    Raises:
        ValueError: an unknown verifier, or one that is no rule.
    """
    rule = get_verifier(verifier)
    if rule.judge is None:
        raise ValueError(f"verifier {verifier!r} is no rule")
    answer = rule.extract(problem, completion, form or getattr(completion, "form", None) or DEFAULT_FORM)
    verdict = at_once(rule, problem, answer)
    return get_rule(verifier)(problem.answer, answer or "") if verdict is None else verdict is Verdict.CORRECT


def _value(text: str) -> str:
    r"""A percentage as LaTeX for its value: `5\%` as `\frac{5}{100}`. Other text as it is."""
    number, percent, rest = re.sub(r"\\%|\\text\s*\{\s*percent\s*\}|\bpercent$", "%", text).partition("%")
    return rf"\frac{{{number.strip(' $')}}}{{100}}" if percent and not rest.strip(" $.") else text


def only_spelling_decides(known: str, _: str) -> bool:
    """Whether the known answer is no mathematics that can be read; of the given one nothing is asked."""
    return only_spelled(known)


def get_rule(name: str) -> Rule:
    """The rule of the verifier of this name, or of `SPELLED`.

    Raises:
        ValueError: there is none.
    """
    if name == SPELLED:
        return only_spelling_decides
    verifier = get_verifier(name)
    if verifier.rule is None:
        raise ValueError(f"verifier {name!r} compares nothing")
    return load(f"rule of verifier {name!r}:", verifier.rule, kind="function")
