"""Verdicts that need no algebra: identical spellings, plain integers, plain numbers."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from aepo_rllib.envs.grading.brackets import split

MAX_NUMBER_CHARS = 400
"""Longer numbers are not read here: Python takes quadratic time for them."""
MAX_NESTING = 12
"""Brackets inside one another. At 20 a parser takes seconds."""
ROUNDED_PLACES = 6
"""A decimal this long stands for the number that it rounds."""

NUMERIC_TOLERANCE = 0.01
"""Relative, of `math-numeric`: what published evaluations of OpenCourseWare problems allow."""
_INTEGER = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)")
_TIMES_TEN = r"\s*(?:\\times|\\cdot|[x*×·])\s*10\s*\^"
_NUMBER = re.compile(
    rf"(?P<digits>[+-]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)?(?:\.\d*)?)"
    rf"(?:[eE](?P<e>[+-]?\d+)|{_TIMES_TEN}(?:(?P<bare>[+-]?\d+)|\{{(?P<braced>[+-]?\d+)\}}))?",
    re.ASCII,
)
_DIGIT_OR_BRACES = r"(?:\{{(?P<{0}>\d+)\}}|(?P<{0}1>\d))"
_RATIONAL = re.compile(
    r"(?P<sign>[+-])?(?:(?P<decimal>(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d*)?)|(?P<over>\d+)/(?P<under>\d+)"
    rf"|\\[dt]?frac{_DIGIT_OR_BRACES.format('top')}{_DIGIT_OR_BRACES.format('bottom')})",
    re.ASCII,
)
_TOPS, _BOTTOMS = ("over", "top", "top1"), ("under", "bottom", "bottom1")
_DECIMAL = re.compile(r"[+-]?(?P<whole>\d*)\.(?P<places>\d+)", re.ASCII)
_DECIMAL_OR_INTEGER = re.compile(r"[+-]?[\d,]*\.?\d*", re.ASCII)
_BRACKET = re.compile(r"[(\[{}\])]")


def tidy(text: str) -> str:
    r"""`text` without dollar signs, a final dot or percent sign, outer and repeated blanks.

    A percent sign is dropped, as in the original MATH grader: asked "what percent", both `20` and `20\%` are
    answers.
    """
    return " ".join(text.replace(r"\$", "").split()).lstrip("$ ").rstrip("\\%$ ").removesuffix(".").rstrip("\\%$ ")


def as_integer(text: str) -> int | None:
    r"""The value of a plainly written integer such as `073`, `-5`, `10,000`, `\$18`; None for other text."""
    match = _INTEGER.fullmatch(tidy(text))
    # Short enough for `int`: Python refuses to convert thousands of digits at once.
    return int(match.group().replace(",", "")) if match and len(match.group()) <= MAX_NUMBER_CHARS else None


def as_rational(text: str) -> Fraction | None:
    r"""The exact value of a plainly written number such as `-5`, `10,000.5`, `3/4`, `\frac{3}{4}` or `\dfrac34`."""
    text = tidy(text)
    match = None if len(text) > MAX_NUMBER_CHARS else _RATIONAL.fullmatch(text)
    if match is None:
        return None
    if match["decimal"] is not None:
        if not any(map(str.isdigit, match["decimal"])):
            return None
        value = Fraction(match["decimal"].replace(",", "").rstrip(".") or "0")
    else:
        top, bottom = (int(next(filter(None, match.group(*names)))) for names in (_TOPS, _BOTTOMS))
        if not bottom:
            return None
        value = Fraction(top, bottom)
    return -value if match["sign"] == "-" else value


def spelling(answer: str) -> str:
    """What two answers must share to count as one vote: the number, or the text without dollars, blanks, final dots.

    Equality of formulas is not looked for, as in other harnesses, so that the vote needs no knowledge of the answer.
    """
    value = as_rational(answer)
    return tidy(answer) if value is None else str(value)


def nested_too_deep(text: str) -> bool:
    """Whether brackets stand deeper inside one another than in any sensible answer; parsers take for ever on those."""
    depth = 0
    for token in _BRACKET.findall(text):
        depth += 1 if token in "([{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def literal_verdict(gold: str, answer: str) -> bool | None:
    """Whether `answer` equals `gold` as far as spelling shows it; None when only algebra can tell.

    Plain numbers compare by value, and equal spellings are equal. An answer in any other form may still have the value
    of the gold answer (`2^{10}` and `1024`).
    """
    gold_integer, answer_integer = as_integer(gold), as_integer(answer)
    if gold_integer is not None and answer_integer is not None:
        return gold_integer == answer_integer
    if tidy(gold) == tidy(answer):
        return True
    known, given = as_rational(gold), as_rational(answer)
    if known is not None and given is not None:
        return known == given or rounds(answer, known, gold) or rounds(gold, given, answer)
    return False if nested_too_deep(answer) and not nested_too_deep(gold) else None


def percent_verdict(gold: str, answer: str) -> bool | None:
    """`literal_verdict`, which a percent sign on one side leaves open unless it is a yes."""
    verdict = literal_verdict(gold, answer)
    return verdict if verdict or ("%" in gold) == ("%" in answer) else None


def rounds(decimal: str, value: Fraction, exact: str) -> bool:
    """Whether a plainly written decimal is the rounded value of an answer that is no such decimal itself.

    A careful reader takes 0.333333 for a third, and 0.33 for another number: `ROUNDED_PLACES` digits are asked for,
    behind the point and in all.
    """
    match = _DECIMAL.fullmatch(tidy(decimal))
    if match is None or _DECIMAL_OR_INTEGER.fullmatch(tidy(exact)):
        return False
    places = len(match["places"])
    if min(places, len((match["whole"] + match["places"]).lstrip("0"))) < ROUNDED_PLACES:
        return False
    return 2 * abs(value - Fraction(match.group())) * 10**places <= 1


def as_number(text: str) -> float | None:
    r"""The value of a plainly written number such as `5`, `-0.5`, `1.6e-19` or `1.6 \times 10^{-19}`.

    None for other text, units and percentages included.
    """
    if "%" in text or len(text) > MAX_NUMBER_CHARS:
        return None
    match = _NUMBER.fullmatch(tidy(text))
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


def several_values(gold: str) -> bool:
    """Whether a known answer lists values outside of brackets, as in `2, 3` or `2 \\text{ and } 3`."""
    if as_rational(gold) is not None:
        return False
    return (
        len(split(tidy(gold), ",", ";")) > 1 or re.search(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])|\\pm", gold) is not None
    )
