r"""Mathematical equality of two answers in LaTeX, by math-verify.

Runs only inside a worker process: some answers take for ever (`5^{5^{5^{5}}}`) or eat all memory, and only
ending the process stops that. math-verify's own time-outs are off for the same reason; they need the main
thread and do not stop everything.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from sympy import Eq, Expr

from aepo_rllib.envs.grading.literals import far_apart, tidy

# LaTeX only, and the box as a whole or nothing. The library's defaults also search the text of an unreadable
# answer for any number, so that `foo(bar 5` would equal 5, and evaluate what they find as Python.
_CONFIG = (LatexExtractionConfig(),)


def math_equal(gold: str, answer: str) -> bool:
    """Whether `answer` means the same as `gold`; the order matters, since `x=5` may be answered by `5`.

    Takes some milliseconds for usual answers, and unlimited time and memory for some.
    """
    known, given = _number(gold), _number(answer)
    if known is not None and given is not None and far_apart(Fraction(known), Fraction(given)):
        return False  # math-verify would simplify the difference to find that it is not zero
    return verify(_parse(gold), _parse(answer), timeout_seconds=None)


def numeric_value(text: str) -> float | None:
    """The value of an answer that is a real number, or an equation that gives one; None for anything else."""
    return _number(text, equations=True)


def _number(text: str, *, equations: bool = False) -> float | None:
    readings = _parse(text)
    expression = readings[0] if readings else None
    if equations and isinstance(expression, Eq):
        expression = expression.rhs
    if not isinstance(expression, Expr) or not expression.is_number:
        return None
    try:
        value = complex(expression.evalf(15))
    except (ArithmeticError, TypeError, ValueError):  # too large, undefined, or not to be pinned down
        return None
    return value.real if value.imag == 0 and math.isfinite(value.real) else None


# Completions of one problem share the known answer, and reading is more than half the work.
@lru_cache(maxsize=1024)
def _parse(text: str) -> list[Any]:
    r"""The readings of `text`; the box around it makes math-verify read all of it as LaTeX."""
    return parse(rf"\boxed{{{tidy(text)}}}", _CONFIG, extraction_mode="first_match", parsing_timeout=None)
