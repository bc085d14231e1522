"""How a known and a given answer that were read as different kinds of thing are brought to one kind.

`x = 5` may be answered by `5`, an interval by an inequality, a point by its coordinates. What cannot be brought to one
kind is not equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import sympy

from aepo_rllib.envs.grading.expressions import read_expression
from aepo_rllib.envs.grading.parsing import read
from aepo_rllib.envs.grading.readings import (
    Chain,
    Choice,
    Condition,
    Entries,
    Named,
    Pair,
    Reading,
    Region,
    Several,
    Value,
    Words,
)
from aepo_rllib.envs.grading.several import as_set

Same = Callable[[Reading, Reading], bool]
CHOICES = frozenset("ABCDE")
"""Letters of choices, whose case does not count."""
ROWS = frozenset(("()", "<>", "<="))
"""Brackets of points, columns and rows."""
_LONGEST_PRODUCT = 4
"""Letters; more of them are a word."""
_SAID = frozenset(("no", "yes", "none", "true", "false", "even", "odd"))
"""Words that are no product of letters."""
_PRODUCT = re.compile(r"[A-Za-z](?:\s*(?:\\cdot|\\times|\*)?\s*[A-Za-z])*")
_POINT = re.compile(r"[A-Z]'?\s*(\(.*\))")


def meet(gold: Reading, answer: Reading, same: Same) -> tuple[Reading, Reading]:
    """Both as the same kind of thing, where one of them can be taken for the kind of the other.

    Args:
        gold: The known answer.
        answer: The given one.
        same: Whether two readings are equal, for what has parts.
    """
    for change in (
        _choices,
        _names,
        partial(_chains, same=same),
        _single,
        _regions,
        _lists,
        _points,
        _letters,
        _product,
        _pairs,
    ):
        if type(gold) is type(answer):
            break
        gold, answer = change(gold, answer)
    return gold, answer


def _choices(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """`(C) 12` answers both C and 12."""
    if isinstance(answer, Choice) and not isinstance(gold, Choice):
        if isinstance(gold, Value) and gold.text == answer.letter:
            return gold, gold
        return gold, answer.value
    if isinstance(gold, Choice):
        same_letter = isinstance(answer, Value) and answer.text.upper() == gold.letter
        return (answer, answer) if same_letter else (gold.value, answer)
    return gold, answer


def _names(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """A value may go without its name, and an equation may name one."""
    if isinstance(gold, Named):
        as_equation = gold.is_quantity or isinstance(answer, Condition)
        return (gold.condition or gold, answer) if as_equation else (gold.value, answer)
    if isinstance(answer, Named) and not (isinstance(gold, Value) and gold.text in CHOICES):
        return gold, (answer.condition or answer) if isinstance(gold, Condition) else answer.value
    return gold, answer


def _chains(gold: Reading, answer: Reading, same: Same) -> tuple[Reading, Reading]:
    """A chain answers what one of its links answers: they have been found equal."""
    if isinstance(answer, Chain):
        return gold, next((link for link in answer.values if same(gold, link)), answer)
    return gold, answer


def _single(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    def alone(reading: Reading) -> Reading:
        one = isinstance(reading, Several) and len(reading.items) == 1 and isinstance(reading.items[0], Value)
        return reading.items[0] if one and isinstance(reading, Several) else reading

    return alone(gold), alone(answer)


def _regions(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    if isinstance(gold, Region) or isinstance(answer, Region):
        sets = as_set(gold), as_set(answer)
        if sets[0] is not None and sets[1] is not None:
            return Region(sets[0], _variable(gold)), Region(sets[1], _variable(answer))
    return gold, answer


def _variable(reading: Reading) -> str:
    return reading.variable if isinstance(reading, Region) else ""


def _lists(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """A point without its brackets, coordinates with their names; intervals have theirs."""
    if isinstance(gold, Entries) and isinstance(answer, Several):
        bare = not answer.is_set and not answer.in_words and gold.brackets in ROWS and not _infinite(gold)
        return gold, Entries(_in_order(answer.items), gold.brackets) if bare else answer
    return gold, answer


def _infinite(entries: Entries) -> bool:
    return any(isinstance(item, Value) and item.expression.has(sympy.oo, -sympy.oo) for item in entries.items)


def _in_order(items: Sequence[Reading]) -> tuple[Reading, ...]:
    """Values by the order of their names, where all have one that is a letter."""
    named = [item for item in items if isinstance(item, Named)]
    if len(named) < len(items):
        return tuple(items)
    letters = len({item.name for item in named}) == len(named) and all(len(item.name) == 1 for item in named)
    ordered = sorted(named, key=lambda item: item.name) if letters else named
    return tuple(item.value for item in ordered)


def _points(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """`A(1,2)` is a point with its name, beside a point; a matrix that had to be computed, its entries."""
    if isinstance(gold, Entries) and isinstance(answer, Value):
        if (point := _POINT.fullmatch(answer.text)) is not None:
            return gold, read(point[1])
        if isinstance(answer.expression, sympy.MatrixBase):
            return gold, _entries(answer.expression)
    return gold, answer


def _entries(matrix: Any) -> Entries:
    cells = [[Value(cell, str(cell)) for cell in row] for row in matrix.tolist()]
    if 1 in matrix.shape:
        return Entries(tuple(cell for row in cells for cell in row), "<>")
    return Entries(tuple(Entries(tuple(row), "<=") for row in cells), "<>")


def _letters(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """Letters that are listed, or multiplied by signs, in the order of the known ones."""
    if isinstance(gold, Words) and isinstance(answer, Several | Entries):
        return gold, _joined(answer) or answer
    if isinstance(answer, Words) and isinstance(gold, Several | Entries):
        return _joined(gold) or gold, answer
    if (
        isinstance(gold, Words)
        and gold.text not in _SAID
        and isinstance(answer, Value)
        and _PRODUCT.fullmatch(answer.text)
    ):
        return gold, Words(re.sub(r"\\(?:cdot|times)|[\s*]", "", answer.text).lower())
    return gold, answer


def _joined(reading: Several | Entries) -> Words | None:
    texts = [item.text if isinstance(item, Value | Words) else "" for item in reading.items]
    return Words("".join(texts).lower()) if all(text.isalpha() for text in texts) else None


def _product(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """Letters beside an expression with variables are a product."""
    if isinstance(gold, Value) and isinstance(answer, Words) and gold.expression.free_symbols:
        short = answer.text.isalpha() and len(answer.text) <= _LONGEST_PRODUCT
        product = read_expression(answer.text) if short else None
        return gold, answer if product is None else Value(product, answer.text)
    return gold, answer


def _pairs(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """`3:2` as the fraction, `10-5` as the difference, where the other side is a number."""
    if isinstance(gold, Pair) and gold.kind == "ratio" and len(gold.parts) == 2 and isinstance(answer, Value):
        return Value(gold.parts[0] / gold.parts[1], ""), answer
    if isinstance(answer, Pair) and isinstance(gold, Value) and answer.kind in ("ratio", "range"):
        top, bottom = answer.parts[:2]
        if len(answer.parts) == 2 and (answer.kind == "range" or bottom != 0):
            return gold, Value(top - bottom if answer.kind == "range" else top / bottom, "")
    return gold, answer
