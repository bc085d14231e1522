"""Verdicts that need no algebra: identical spellings, plain integers, plain numbers."""

from __future__ import annotations

import math
import re

NUMERIC_TOLERANCE = 0.01
"""Relative, of `math-numeric`: what published evaluations of OpenCourseWare problems allow."""
_INTEGER = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)")
_TIMES_TEN = r"\s*(?:\\times|\\cdot|[x*×·])\s*10\s*\^"
_NUMBER = re.compile(
    rf"(?P<digits>[+-]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)?(?:\.\d*)?)"
    rf"(?:[eE](?P<e>[+-]?\d+)|{_TIMES_TEN}(?:(?P<bare>[+-]?\d+)|\{{(?P<braced>[+-]?\d+)\}}))?",
    re.ASCII,
)
_UNIT = re.compile(r"(?:\\[ ,;!]|~|\s)*\\(?:text|mathrm|operatorname|rm)\s*\{[^{}]*\}$")


def tidy(text: str) -> str:
    r"""`text` without dollar signs, a final dot or percent sign, outer and repeated blanks.

    A percent sign is dropped, as in the original MATH grader: asked "what percent", both `20` and `20\%` are
    answers.
    """
    return " ".join(text.replace(r"\$", "").split()).lstrip("$ ").rstrip("\\%$. ")


def as_integer(text: str) -> int | None:
    r"""The value of a plainly written integer such as `073`, `-5`, `10,000`, `\$18`; None for other text."""
    match = _INTEGER.fullmatch(tidy(text))
    # Short enough for `int`: Python refuses to convert thousands of digits at once.
    return int(match.group().replace(",", "")) if match and len(match.group()) <= 400 else None


def literal_verdict(gold: str, answer: str) -> bool | None:
    """Whether `answer` equals `gold` as far as spelling shows it; None when only algebra can tell.

    Two plain integers compare by value, and equal spellings are equal. An answer in any other form may still
    have the value of the gold answer (`2^{10}` and `1024`).
    """
    gold_value, answer_value = as_integer(gold), as_integer(answer)
    if gold_value is not None and answer_value is not None:
        return gold_value == answer_value
    return True if tidy(gold) == tidy(answer) else None


def as_number(text: str) -> float | None:
    r"""The value of a plainly written number such as `5`, `-0.5`, `1.6e-19` or `1.6 \times 10^{-19}`.

    A unit in `\text{...}` or `\mathrm{...}` behind it is left out. None for other text, percentages included.
    """
    if "%" in text or len(text) > 400:
        return None
    match = _NUMBER.fullmatch(tidy(_UNIT.sub("", tidy(text))))
    if match is None or not any(map(str.isdigit, match["digits"])):
        return None
    exponent = match["e"] or match["bare"] or match["braced"] or "0"
    return float(f"{match['digits'].replace(',', '')}e{exponent}") if len(exponent) < 6 else None


def close(known: float, given: float) -> bool:
    """Whether two numbers agree up to `NUMERIC_TOLERANCE` of the known one."""
    return math.isfinite(known) and math.isfinite(given) and abs(known - given) <= NUMERIC_TOLERANCE * abs(known)


def numeric_verdict(gold: str, answer: str) -> bool | None:
    """`literal_verdict`, with a tolerance for plainly written numbers."""
    known, given = as_number(gold), as_number(answer)
    if known is not None and given is not None:
        return close(known, given)
    return True if tidy(gold) == tidy(answer) else None
