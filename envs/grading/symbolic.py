r"""Whether two answers mean the same.

Runs only inside a worker process: reading some answers takes for ever (`5^{5^{5^{5}}}`) or eats all memory, and only
ending the process stops that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import sympy

from aepo_rllib.envs.grading.expressions import proportion, read_expression, real_number, same_expression
from aepo_rllib.envs.grading.literals import rounds
from aepo_rllib.envs.grading.reader import as_set, read
from aepo_rllib.envs.grading.readings import (
    Based,
    Chain,
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


def math_equal(gold: str, answer: str) -> bool:
    """Whether `answer` means the same as `gold`; the order matters, since `x=5` may be answered by `5`.

    Takes some milliseconds for usual answers, and unlimited time and memory for some.
    """
    try:
        return same(read(gold), read(answer))
    except MemoryError:
        raise
    except (
        Exception
    ):  # sympy stumbles over an expression in many ways; what it cannot evaluate has not been found equal
        return False


def numeric_value(text: str) -> Any:
    """The value of an answer that is a real number, or gives one a name; None for anything else."""
    try:
        reading = read(text)
        if isinstance(reading, Named):
            reading = reading.value
        if isinstance(reading, Chain):
            reading = reading.values[0]
        if isinstance(reading, Value) and reading.bare is not None:
            reading = reading.bare
        return real_number(reading.expression) if isinstance(reading, Value) else None
    except ArithmeticError:
        return None


def only_spelled(text: str) -> bool:
    """Whether an answer is a text, or nothing that can be read."""
    try:
        return isinstance(read(text), Unread | Words)
    except ArithmeticError:
        return True


def same(gold: Reading, answer: Reading) -> bool:
    """Whether an answer says what the known one says."""
    gold, answer = _meet(gold, answer)
    rule = _RULES.get(type(gold))
    return type(gold) is type(answer) and rule is not None and rule(gold, answer)


def _meet(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """Both as the same kind of thing, where one of them can be taken for the kind of the other."""
    for change in (_names, _chains, _single, _regions, _lists, _letters, _product, _ratios):
        if type(gold) is type(answer) and not isinstance(gold, Named):
            break
        gold, answer = change(gold, answer)
    return gold, answer


def _names(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    if isinstance(gold, Named) and isinstance(answer, Named):
        if gold.name == answer.name and same(gold.value, answer.value):
            return gold.value, answer.value
        return gold.condition or Unread(gold.name), answer.condition or Unread(answer.name)
    if isinstance(gold, Named) and isinstance(answer, Condition):
        return gold.condition or gold, answer
    if isinstance(answer, Named) and isinstance(gold, Condition):
        return gold, answer.condition or answer
    if isinstance(gold, Named):
        return gold.value, answer
    return gold, answer.value if isinstance(answer, Named) else answer


def _chains(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """A chain answers what one of its links answers: they have been found equal."""
    if isinstance(gold, Chain) and not isinstance(answer, Chain):
        return gold, answer
    if isinstance(answer, Chain):
        return gold, next((link for link in answer.values if same(gold, link)), answer)
    return gold, answer


def _single(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    def alone(reading: Reading) -> Reading:
        return reading.items[0] if isinstance(reading, Several) and len(reading.items) == 1 else reading

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
    """A point without its brackets, coordinates with their names."""
    if isinstance(gold, Entries) and isinstance(answer, Several) and not answer.is_set:
        return gold, Entries(_in_order(answer.items), gold.brackets)
    if isinstance(answer, Entries) and isinstance(gold, Several) and not gold.is_set:
        return Entries(_in_order(gold.items), answer.brackets), answer
    return gold, answer


def _in_order(items: Sequence[Reading]) -> tuple[Reading, ...]:
    """Values by the order of their names, where all have one."""
    named = [item for item in items if isinstance(item, Named)]
    if len(named) < len(items) or len({item.name for item in named}) < len(named):
        return tuple(items)
    return tuple(item.value for item in sorted(named, key=lambda item: item.name))


def _letters(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """Letters that are listed, or multiplied by signs, in the order of the known ones."""
    if isinstance(gold, Words) and isinstance(answer, Several | Entries):
        texts = [item.text if isinstance(item, Value | Words) else "" for item in answer.items]
        if all(text.isalpha() for text in texts):
            return gold, Words("".join(texts).lower())
    if isinstance(gold, Words) and isinstance(answer, Value):
        return gold, Words(
            "".join(character for character in answer.text.replace(r"\cdot", "").lower() if character.isalpha())
        )
    return gold, answer


def _product(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """Letters beside an expression with variables are a product."""
    if isinstance(gold, Value) and isinstance(answer, Words) and gold.expression.free_symbols:
        product = (
            read_expression(answer.text) if answer.text.isalpha() and len(answer.text) <= _LONGEST_PRODUCT else None
        )
        return gold, answer if product is None else Value(product, answer.text)
    return gold, answer


def _ratios(gold: Reading, answer: Reading) -> tuple[Reading, Reading]:
    """`3:2` as the fraction, `10-5` as the difference, where the other side is a number."""
    if isinstance(gold, Pair) and gold.kind == "ratio" and len(gold.parts) == 2 and isinstance(answer, Value):
        return Value(gold.parts[0] / gold.parts[1], ""), answer
    if isinstance(answer, Pair) and isinstance(gold, Value) and len(answer.parts) == 2:
        top, bottom = answer.parts
        if answer.kind == "range" or bottom != 0:
            return gold, Value(top - bottom if answer.kind == "range" else top / bottom, "")
    return gold, answer


def _same_value(gold: Value, answer: Value) -> bool:
    if answer.bare is not None and not gold.expression.free_symbols:
        answer = answer.bare
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    if same_expression(gold.expression, answer.expression):
        return True
    return _rounds(answer, gold) or _rounds(gold, answer)


def _rounds(decimal: Value, exact: Value) -> bool:
    value = real_number(exact.expression)
    return value is not None and rounds(decimal.text, Fraction(str(value)), exact.text)


def _same_several(gold: Several, answer: Several) -> bool:
    wanted, given = list(gold.items), list(answer.items)
    if gold.is_set or (answer.is_set and len(given) != len(wanted)):
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
    if gold.brackets != answer.brackets and not {gold.brackets, answer.brackets} <= {"()", "<>", "<="}:
        return False
    return all(map(same, gold.items, answer.items))


def _same_condition(gold: Condition, answer: Condition) -> bool:
    if gold.sign != answer.sign:
        return False
    factor = proportion(gold.difference, answer.difference)
    if factor is None and gold.sign == "=":
        numerators = [sympy.fraction(sympy.together(side.difference))[0] for side in (gold, answer)]
        factor = proportion(*numerators)
    return factor is not None and (gold.sign in ("=", r"\ne") or bool(sympy.re(factor) > 0))


def _same_pair(gold: Pair, answer: Pair) -> bool:
    if gold.kind != answer.kind:
        return False
    if gold.kind == "ratio":
        return len(gold.parts) == len(answer.parts) and all(
            same_expression(one * answer.parts[0], other * gold.parts[0])
            for one, other in zip(gold.parts, answer.parts, strict=True)
        )
    halves = {gold.half_day, answer.half_day} - {""}
    return gold.parts == answer.parts and len(halves) < 2


def _same_congruence(gold: Congruence, answer: Congruence) -> bool:
    difference = gold.remainder - answer.remainder
    return (
        same(gold.left, answer.left)
        and same_expression(gold.modulus, answer.modulus)
        and (difference == 0 or bool((difference / gold.modulus).is_integer))
    )


def _same_region(gold: Region, answer: Region) -> bool:
    if gold.variable and answer.variable and gold.variable != answer.variable:
        return False
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
    Chain: lambda gold, answer: gold.spelling in (answer.spelling, answer.spelling[::-1]),
    Congruence: _same_congruence,
}
