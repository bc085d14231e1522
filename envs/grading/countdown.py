r"""Exact arithmetic on untrusted expressions, and the Countdown rule built on it.

The grammar is all there is; nothing is ever evaluated as code:

    sum     = product (("+" | "-") product)*
    product = atom (("*" | "/") atom)*
    atom    = number | "(" sum ")"

`\times`, `\cdot`, `×`, `·` stand for `*`, `\div` and `÷` for `/`, `−` for `-`. There is no unary minus and no
juxtaposition. The limits below bound the work, so that a check takes well under a millisecond.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

MAX_CHARS = 200
MAX_DEPTH = 40
"""Parentheses inside one another."""
MAX_DIGITS = 6
"""Digits of one number."""

_TOKEN = re.compile(r"\s*([0-9]+|[-+*/()×·÷−]|\\(?:times|cdot|div|left|right)(?![A-Za-z]))\s*")
_MEANING = {r"\times": "*", "×": "*", r"\cdot": "*", "·": "*", r"\div": "/", "÷": "/", "−": "-"}
_SILENT = (r"\left", r"\right")


class ExpressionError(ValueError):
    """The text is no expression of the grammar, exceeds a limit, or divides by zero."""


class Expression(NamedTuple):
    """What an expression comes to."""

    value: Fraction
    numbers: tuple[int, ...]
    """The numbers written in it, in order."""


def parse_expression(text: str) -> Expression:
    """The exact value of `text` and the numbers it uses.

    Raises:
        ExpressionError: see there.
    """
    if len(text) > MAX_CHARS:
        raise ExpressionError(f"{len(text)} characters; at most {MAX_CHARS} are read")
    return _Parser(_tokens(text)).run()


def check_countdown(answer: str, numbers: Sequence[int], target: int) -> bool:
    """Whether `answer` is an expression that uses each of `numbers` exactly once and equals `target`."""
    try:
        expression = parse_expression(answer.strip().strip("$"))
    except ExpressionError:
        return False
    return expression.value == target and sorted(expression.numbers) == sorted(numbers)


def _tokens(text: str) -> list[str]:
    """Numbers, the four operators and parentheses."""
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"cannot read {text[position : position + 10]!r}")
        position = match.end()
        token = match.group(1)
        if token[0].isdigit() and len(token) > MAX_DIGITS:
            raise ExpressionError(f"a number of {len(token)} digits; at most {MAX_DIGITS} are read")
        if token not in _SILENT:
            tokens.append(_MEANING.get(token, token))
    return tokens


class _Parser:
    """Recursive descent over tokens, evaluating on the way."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._next = 0
        self._numbers: list[int] = []

    def run(self) -> Expression:
        value = self._sum(depth=0)
        if self._peek():
            raise ExpressionError(f"unexpected {self._peek()!r}")
        return Expression(value, tuple(self._numbers))

    def _sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while self._peek() in ("+", "-"):
            if self._take() == "+":
                value += self._product(depth)
            else:
                value -= self._product(depth)
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._atom(depth)
        while self._peek() in ("*", "/"):
            if self._take() == "*":
                value *= self._atom(depth)
            elif (divisor := self._atom(depth)) == 0:
                raise ExpressionError("division by zero")
            else:
                value /= divisor
        return value

    def _atom(self, depth: int) -> Fraction:
        token = self._take()
        if token[:1].isdigit():
            self._numbers.append(int(token))
            return Fraction(self._numbers[-1])
        if token != "(":
            raise ExpressionError(f"a number or a parenthesis must stand where {token or 'the end'!r} stands")
        if depth == MAX_DEPTH:
            raise ExpressionError(f"more than {MAX_DEPTH} parentheses inside one another")
        value = self._sum(depth + 1)
        if self._take() != ")":
            raise ExpressionError("a parenthesis is not closed")
        return value

    def _peek(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token
