r"""Whether two answers mean the same.

Runs only inside a worker process: reading some answers takes for ever (`5^{5^{5^{5}}}`) or eats all memory, and only
ending the process stops that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

from aepo_rllib.envs.grading.expressions import proportion, read_expression, real_number, same_expression
from aepo_rllib.envs.grading.literals import rounds
from aepo_rllib.envs.grading.reader import as_set, read
from aepo_rllib.envs.grading.readings import (
    Based,
    Chain,
    Choice,
    Condition,
    Congruence,
    Entries,
    Named,
    Pair,
    Reading,
    Region,
    Several,
    Unread,
    Value,
    Words,
)
from aepo_rllib.envs.grading.regions import same_region

_LONGEST_PRODUCT = 4
"""Letters; more of them are a word."""
_SAID = frozenset(("no", "yes", "none", "true", "false", "even", "odd"))
"""Words that are no product of letters."""
_CHOICES = frozenset("ABCDE")
_PRODUCT = re.compile(r"[A-Za-z](?:\s*(?:\\cdot|\\times|\*)?\s*[A-Za-z])*")
_POINT = re.compile(r"[A-Z]'?\s*(\(.*\))")
_ROWS = frozenset(("()", "<>", "<="))
"""Brackets of points, columns and rows."""


def math_equal(gold: str, answer: str) -> bool:
    """Whether `answer` means the same as `gold`; the order matters, since `x=5` may be answered by `5`.

    Takes some milliseconds for usual answers, and unlimited time and memory for some.
    """
    try:
        return same(read(gold), read(answer))
    except MemoryError:
        raise
    except Exception:  # sympy stumbles in many ways; what it cannot evaluate has not been found equal
        return False


class Quantity(NamedTuple):
    """A real number with its unit, None where it has none."""

    value: float
    unit: str | None


def quantity(text: str) -> Quantity | None:
    """An answer that is a real number, or gives one a name; None for anything else."""
    try:
        reading = read(text)
        if isinstance(reading, Named) and not reading.is_quantity:
            reading = reading.value
        if isinstance(reading, Chain):
            reading = reading.values[0]
        if isinstance(reading, Value) and reading.bare is not None:
            reading = reading.bare
        number = real_number(reading.expression) if isinstance(reading, Value) else None
        return Quantity(float(number), reading.unit) if number is not None and isinstance(reading, Value) else None
    except MemoryError:
        raise
    except Exception:  # as above
        return None


def only_spelled(text: str) -> bool:
    """Whether an answer is a text, or nothing that can be read."""
    try:
        return isinstance(read(text), Unread | Words)
    except MemoryError:
        raise
    except Exception:  # as above
        return True


def same(gold: Reading, answer: Reading) -> bool:
    """Whether an answer says what the known one says."""
    if isinstance(gold, Named) and isinstance(answer, Named):
        return _same_named(gold, answer)
    gold, answer = _meet(gold, answer)
    rule = _RULES.get(type(gold))
    return type(gold) is type(answer) and rule is not None and rule(gold, answer)


def _same_named(gold: Named, answer: Named) -> bool:
    if gold.name == answer.name and not gold.is_quantity and same(gold.value, answer.value):
        return True
    if gold.condition is None or answer.condition is None:
        return False
    return _same_condition(gold.condition, answer.condition)


def _meet(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """Both as the same kind of thing, where one of them can be taken for the kind of the other."""
    for change in (_choices, _names, _chains, _single, _regions, _lists, _points, _letters, _product, _pairs):
        if type(gold) is type(answer):
            break
        gold, answer = change(gold, answer)
    return gold, answer


def _choices(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """`(C) 12` answers both C and 12."""
    if isinstance(answer, Choice) and not isinstance(gold, Choice):
        if isinstance(gold, Value) and gold.text == answer.letter:
            return gold, replace(gold)
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
    if isinstance(answer, Named) and not (isinstance(gold, Value) and gold.text in _CHOICES):
        return gold, (answer.condition or answer) if isinstance(gold, Condition) else answer.value
    return gold, answer


def _chains(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
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
        bare = not answer.is_set and not answer.in_words and gold.brackets in _ROWS and not _infinite(gold)
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


def _same_value(gold: Value, answer: Value) -> bool:
    if gold.text in _CHOICES:
        return answer.text.upper() == gold.text
    if answer.bare is not None and not gold.expression.free_symbols:
        answer = answer.bare
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    return same_expression(gold.expression, answer.expression) or _rounds(answer, gold) or _rounds(gold, answer)


def _rounds(decimal: Value, exact: Value) -> bool:
    value = real_number(exact.expression)
    return value is not None and rounds(decimal.text, Fraction(str(value)), exact.text)


def _same_several(gold: Several, answer: Several) -> bool:
    wanted, given = list(gold.items), list(answer.items)
    if gold.is_set:
        wanted, given = _distinct(wanted), _distinct(given)
    if len(wanted) != len(given):
        return False
    for item in wanted:
        place = next((index for index, other in enumerate(given) if same(item, other)), None)
        if place is None:
            return False
        del given[place]
    return True


def _distinct(items: Sequence[Reading]) -> list[Reading]:
    kept: list[Reading] = []
    for item in items:
        if not any(same(other, item) for other in kept):
            kept.append(item)
    return kept


def _same_entries(gold: Entries, answer: Entries) -> bool:
    if len(gold.items) != len(answer.items):
        return False
    fitting = {gold.brackets, answer.brackets} <= _ROWS or (gold.brackets == "<>" and answer.brackets == "[]")
    return (gold.brackets == answer.brackets or fitting) and all(map(same, gold.items, answer.items))


def _same_condition(gold: Condition, answer: Condition) -> bool:
    if gold.sign != answer.sign:
        return False
    factor = proportion(gold.difference, answer.difference)
    if factor is None and gold.sign == "=":
        numerators = [sympy.fraction(sympy.together(side.difference))[0] for side in (gold, answer)]
        factor = proportion(*numerators)
    return factor is not None and (gold.sign in ("=", r"\ne") or bool(sympy.re(factor) > 0))


def _same_pair(gold: Pair, answer: Pair) -> bool:
    kinds = {gold.kind, answer.kind}
    if len(kinds) > 1 and kinds not in ({"range", "to"}, {"ratio", "to"}):
        return False
    if "ratio" in kinds:
        return len(gold.parts) == len(answer.parts) and all(
            same_expression(one * answer.parts[0], other * gold.parts[0])
            for one, other in zip(gold.parts, answer.parts, strict=True)
        )
    halves = {gold.half_day, answer.half_day} - {""}
    return gold.parts == answer.parts and len(halves) < 2


def _same_congruence(gold: Congruence, answer: Congruence) -> bool:
    difference = gold.remainder - answer.remainder
    return (
        (gold.left is None or answer.left is None or same(gold.left, answer.left))
        and same_expression(gold.modulus, answer.modulus)
        and (difference == 0 or bool((difference / gold.modulus).is_integer))
    )


def _same_region(gold: Region, answer: Region) -> bool:
    if gold.variable and answer.variable and gold.variable != answer.variable:
        return False
    if gold.set is sympy.S.EmptySet and answer.variable:
        return False  # a condition that nothing meets does not say so
    return same_region(gold.set, answer.set)


_RULES: dict[type, Callable[[Any, Any], bool]] = {
    Unread: lambda gold, answer: bool(gold.text) and gold == answer,
    Words: lambda gold, answer: bool(gold.text) and gold == answer,
    Value: _same_value,
    Based: lambda gold, answer: gold == answer,
    Pair: _same_pair,
    Several: _same_several,
    Entries: _same_entries,
    Region: _same_region,
    Condition: _same_condition,
    Choice: lambda gold, answer: gold.letter == answer.letter and same(gold.value, answer.value),
    Chain: lambda gold, answer: gold.spelling in (answer.spelling, answer.spelling[::-1]),
    Congruence: _same_congruence,
}
