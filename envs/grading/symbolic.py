r"""Whether two answers mean the same.

Runs only inside a worker process: reading some answers takes for ever (`5^{5^{5^{5}}}`) or eats all memory, and only
ending the process stops that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

from aepo_rllib.envs.grading.expressions import proportion, real_number, same_expression
from aepo_rllib.envs.grading.literals import rounds
from aepo_rllib.envs.grading.meeting import CHOICES, ROWS, meet
from aepo_rllib.envs.grading.parsing import read
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
    gold, answer = meet(gold, answer, same)
    rule = _RULES.get(type(gold))
    return type(gold) is type(answer) and rule is not None and rule(gold, answer)


def _same_named(gold: Named, answer: Named) -> bool:
    if gold.name == answer.name and not gold.is_quantity and same(gold.value, answer.value):
        return True
    if gold.condition is None or answer.condition is None:
        return False
    return _same_condition(gold.condition, answer.condition)


def _same_value(gold: Value, answer: Value) -> bool:
    if gold.text in CHOICES:
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
    fitting = {gold.brackets, answer.brackets} <= ROWS or (gold.brackets == "<>" and answer.brackets == "[]")
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
