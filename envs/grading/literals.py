"""Verdicts that need no algebra: identical spellings and plain integers."""

from __future__ import annotations

import re

_INTEGER = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)")


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
