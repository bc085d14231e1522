r"""Relations in answers: `x = 5`, `2 + 3 = 5`, `3x - y + 13 = 0`, `\frac13 \approx 0.33`, `1 < x \le 3`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import sympy

from aepo_rllib.envs.grading.brackets import top_level
from aepo_rllib.envs.grading.expressions import is_scalar, read_expression, real_number, same_expression
from aepo_rllib.envs.grading.readings import (
    Based,
    Chain,
    Condition,
    Entries,
    Named,
    Read,
    Reading,
    Region,
    Several,
    Unread,
    Value,
)
from aepo_rllib.envs.grading.regions import from_condition
from aepo_rllib.envs.grading.signs import GREEK
from aepo_rllib.envs.grading.units import changes_meaning

_SIGNS = ("=", r"\approx", "<", ">", r"\le", r"\ge", r"\ne")
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_VARIABLE = (
    rf"(?:[A-Za-z]|\\(?:{GREEK})(?![A-Za-z])|\\(?:vec|hat|bar|overline)\s*\{{?\s*[A-Za-z]+\s*\}}?)"
    r"\s*(?:_\s*\{[^{}]*\})?'*"
)
_ANY_VARIABLE = re.compile(_VARIABLE)
_NAME = re.compile(
    rf"(?:\\(?:min|max)(?![A-Za-z])|m?\s*\\(?:angle|triangle)\s*\{{?[A-Za-z]+\}}?|\\text\s*\{{[^{{}}\d]*\}}|(?!\d)(?:{_VARIABLE}|[A-Za-z]{{2,}})"
    rf"(?:\([^()]*\))?|\(\s*{_VARIABLE}(?:\s*,\s*{_VARIABLE})+\s*\))\s*"
)
_DECIMAL = re.compile(r"-?\d*(?:\.(\d+))?")
_LEAST_PLACES = 2
r"""Of a decimal behind a `=`, to be taken for a rounded value; behind `\approx` any will do."""


def read_chain(text: str, read: Read) -> Reading | None:
    """The reading of a relation; None where there is none at the top level."""
    if (member := _membership(text, read)) is not None:
        return member
    pieces, links, start = [], [], 0
    for position, token in top_level(text):
        if token in _SIGNS:
            pieces.append(text[start:position].strip())
            links.append(token)
            start = position + len(token)
    pieces.append(text[start:].strip())
    if links and not pieces[0] and links[0] in ("=", r"\approx"):
        pieces, links = pieces[1:], links[1:]
        if not links:
            return read(pieces[0])
    if not links:
        return None
    if "" in pieces:
        return Unread(text)
    if set(links) <= {"=", r"\approx"}:
        return _equalities(pieces, links, read)
    return _inequalities(pieces, links) or Unread(_plain(text))


def _membership(text: str, read: Read) -> Reading | None:
    match = re.fullmatch(rf"({_VARIABLE})\s*\\in(?![A-Za-z])(.*)", text)
    if match is None:
        return None
    variable, inner = _plain(match[1]), read(match[2])
    if isinstance(inner, Region):
        return replace(inner, variable="" if inner.set is sympy.S.EmptySet else variable)
    return Named(variable, inner, None) if isinstance(inner, Several | Entries) else None


def _equalities(pieces: Sequence[str], links: Sequence[str], read: Read) -> Reading:
    first, last = pieces[0], pieces[-1]
    if len(pieces) > 2 and all(_ANY_VARIABLE.fullmatch(name) for name in pieces[:2]) and links[0] == "=":
        rest = _equalities(pieces[1:], links[1:], read)  # x = y = 5
        return Several((replace(rest, name=_plain(first)), rest)) if isinstance(rest, Named) else rest
    if _names(first) and not _occurs(first, pieces[1:]):
        value = _value(pieces[1:], links[1:], read)
        return value if isinstance(value, Unread) else Named(_plain(first), value, _equation(first, pieces[1]))
    if len(pieces) == 2 and links == ["="] and _names(last) and not _occurs(last, pieces[:1]):
        return Named(_plain(last), read(first), _equation(first, last))
    if _is_quantity(first):
        value = _value(pieces[1:], links[1:], read)
        if _whole(value):
            return Named(_plain(first), value, _equation(first, pieces[1]), is_quantity=True)
    value = _value(pieces, links, read, formulas=False)
    if not isinstance(value, Unread):
        return value
    equation = _equation(first, last) if len(pieces) == 2 and links == ["="] else None
    return equation or value


def _value(pieces: Sequence[str], links: Sequence[str], read: Read, *, formulas: bool = True) -> Reading:
    r"""What a chain of pieces that are said to be equal comes to.

    Args:
        pieces: What is said to be equal.
        links: The signs between them.
        read: Reads a piece.
        formulas: Whether pieces with variables (the `\pi r^2` of `A = \pi r^2 = 9\pi`) go unchecked before numbers.

    Returns:
        The one value, a `Chain` of several that are found equal, or `Unread` where two of them differ.
    """
    values = [read(piece) for piece in pieces]
    if len(values) == 1:
        return values[0]
    closed = [place for place, value in enumerate(values) if not _symbols(value)]
    numbers_last = formulas and bool(closed) and closed[-1] == len(values) - 1
    kept = closed if numbers_last else list(range(len(values)))
    for left, right in pairwise(kept):
        approximate = r"\approx" in links[left:right]
        if not _agree(values[left], values[right], approximate=approximate):
            return Unread("=".join(map(_plain, pieces)))
    if len(kept) == 1:
        return values[kept[0]]
    return Chain(tuple(values[place] for place in kept), tuple(_plain(pieces[place]) for place in kept))


def _symbols(reading: Reading) -> bool:
    """Whether there are variables in a value, or no telling."""
    if isinstance(reading, Chain):
        return any(map(_symbols, reading.values))
    if isinstance(reading, Value):
        expression: Any = (reading.bare or reading).expression
        return bool(expression.free_symbols)
    return not isinstance(reading, Based)


def _whole(reading: Reading) -> bool:
    """Whether a value is a whole number above zero, which is what sums and products of unknowns are asked for."""
    last = reading.values[-1] if isinstance(reading, Chain) else reading
    return isinstance(last, Value) and bool(last.expression.is_Integer) and bool(last.expression > 0)


def _names(text: str) -> bool:
    match = _NAME.fullmatch(text)
    return match is not None and not (r"\text" in text and changes_meaning(text.replace(r"\text", "")))


def _is_quantity(text: str) -> bool:
    """Whether something is asked for by a sum or product of variables, `m + n` or `|AB|^2`, not an equation solved."""
    expression: Any = None if r"\pm" in text else read_expression(text)
    return is_scalar(expression) and len(expression.free_symbols) > 1 and "'" not in text


def _equation(left: str, right: str) -> Condition | None:
    if any(sign in side for sign in (r"\pm", r"\mp") for side in (left, right)):
        return None  # two equations in one
    sides = read_expression(left), read_expression(right)
    if not all(map(is_scalar, sides)):
        return None
    difference = sides[0] - sides[1]
    return Condition(difference, "=") if difference.free_symbols else None


def _agree(left: Reading, right: Reading, *, approximate: bool) -> bool:
    """Whether neighbours in a chain are equal, or as nearly as a decimal among them can say."""
    numbers = [_number(side) for side in (left, right)]
    if None in numbers:
        return False
    if same_expression(*numbers) or _in_percent(left, right) or _in_percent(right, left):
        return True
    values = [real_number(number) for number in numbers]
    texts = [side.text if isinstance(side, Value) else "" for side in (left, right)]
    places = [len(match[1] or "") for text in texts if (match := _DECIMAL.fullmatch(text))]
    if None in values or not places or (not approximate and max(places) < _LEAST_PLACES):
        return False
    return bool(2 * abs(values[0] - values[1]) <= sympy.Rational(1, 10 ** min(places)))


def _in_percent(share: Reading, percentage: Reading) -> bool:
    """Whether the second says in percent what the first says."""
    if not isinstance(share, Value) or not isinstance(percentage, Value) or percentage.unit != "%^1" or share.unit:
        return False
    return same_expression(100 * share.expression, percentage.expression)


def _number(reading: Reading) -> sympy.Expr | None:
    if isinstance(reading, Based):
        return sympy.Integer(int(reading.digits, reading.base)) if reading.digits.isalnum() else None
    if isinstance(reading, Value):
        return (reading.bare or reading).expression
    return None


def _inequalities(pieces: Sequence[str], links: Sequence[str]) -> Reading | None:
    expressions = [read_expression(piece) for piece in pieces]
    if not all(map(is_scalar, expressions)) or not set(links) <= _FLIPPED.keys():
        return None
    steps = [(left, sign, right) for (left, right), sign in zip(pairwise(expressions), links, strict=True)]
    symbols = set().union(*(side.free_symbols for side in expressions))
    sets = [_bound(*step) for step in steps]
    if len(symbols) == 1 and all(region is not None for region in sets):
        return Region(sympy.Intersection(*sets), str(next(iter(symbols))))
    return _condition(*steps[0]) if len(steps) == 1 else None


def _bound(left: sympy.Expr, sign: str, right: sympy.Expr) -> sympy.Set | None:
    """What a condition on one variable allows, the variable on either side, linear or in bars at most."""
    if left.free_symbols and right.free_symbols:
        return None
    if right.free_symbols:
        left, sign, right = right, _FLIPPED[sign], left
    if len(left.free_symbols) != 1:
        return None
    (variable,) = left.free_symbols
    if left == sympy.Abs(variable) and (real_number(right) or 0) > 0 and sign != r"\ne":
        inside = sign in ("<", r"\le")
        low, high = from_condition(_FLIPPED[sign], -right), from_condition(sign, right)
        return sympy.Intersection(low, high) if inside else sympy.Union(low, high)
    if left != variable:
        slope = sympy.diff(left, variable)
        if slope.free_symbols or real_number(slope) in (None, 0):
            return None
        right = (right - left.subs(variable, 0)) / slope
        sign = sign if real_number(slope) > 0 else _FLIPPED[sign]
    return from_condition(sign, right)


def _condition(left: sympy.Expr, sign: str, right: sympy.Expr) -> Condition | None:
    if not (left.free_symbols | right.free_symbols):
        return None
    if sign in (">", r"\ge"):
        left, sign, right = right, _FLIPPED[sign], left
    return Condition(left - right, sign)


def _occurs(name: str, pieces: Sequence[str]) -> bool:
    """Whether a name is used in what it is said to equal."""
    bare = re.escape(name.strip())
    return any(re.search(rf"(?<![A-Za-z\\]){bare}(?![A-Za-z])", piece) for piece in pieces)


def _plain(text: str) -> str:
    return re.sub(r"\\(?:text|cdot|left|right)(?![A-Za-z])|[\s{}()]", "", text)
