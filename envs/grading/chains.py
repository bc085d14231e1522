r"""Relations in answers: `x = 5`, `2 + 3 = 5`, `3x - y + 13 = 0`, `\frac13 \approx 0.33`, `1 < x \le 3`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import sympy

from aepo_rllib.envs.grading.brackets import top_level
from aepo_rllib.envs.grading.expressions import read_expression, real_number, same_expression
from aepo_rllib.envs.grading.readings import Chain, Condition, Entries, Named, Reading, Region, Several, Unread, Value
from aepo_rllib.envs.grading.regions import from_condition

_SIGNS = ("=", r"\approx", "<", ">", r"\le", r"\ge", r"\ne")
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_VARIABLE = re.compile(r"(?:[A-Za-z]|\\(?!text|frac|sqrt|pi(?![a-z]))[A-Za-z]+)\s*(?:_\s*(?:\{[^{}]*\}|\w))?'*")
_NAME = re.compile(
    rf"(?:{_VARIABLE.pattern}|\\text\s*\{{[^{{}}]*\}}|[A-Za-z]{{2,}}|\\(?:angle|triangle|overline)\s*\{{?[A-Za-z]+\}}?)\s*(?:\([^()]*\))?"
    rf"|\(\s*{_VARIABLE.pattern}(?:\s*,\s*{_VARIABLE.pattern})+\s*\)"
)
_DECIMAL = re.compile(r"-?\d*\.(\d+)")


def read_chain(text: str, read: Callable[[str], Reading]) -> Reading | None:
    """The reading of a relation; None where there is none at the top level."""
    if (member := _membership(text, read)) is not None:
        return member
    signs = [(position, token) for position, token in top_level(text) if token in _SIGNS]
    if not signs:
        return None
    pieces, start = [], 0
    for position, token in signs:
        pieces.append(text[start:position].strip())
        start = position + len(token)
    pieces.append(text[start:].strip())
    links = [token for _, token in signs]
    if not pieces[0] and links[0] in ("=", r"\approx"):
        pieces, links = pieces[1:], links[1:]
    if "" in pieces:
        return Unread(text)
    if not links:
        return read(pieces[0])
    if set(links) <= {"=", r"\approx"}:
        return _equalities(pieces, links, read)
    return _inequalities(pieces, links) or Unread(re.sub(r"\s", "", text))


def _membership(text: str, read: Callable[[str], Reading]) -> Reading | None:
    match = re.fullmatch(rf"({_VARIABLE.pattern})\s*\\in(?![A-Za-z])(.*)", text)
    if match is None:
        return None
    variable, inner = match[1], read(match[2])
    if isinstance(inner, Region):
        return replace(inner, variable=_plain(variable))
    return Named(_plain(variable), inner, None) if isinstance(inner, Several | Entries) else None


def _equalities(pieces: Sequence[str], links: Sequence[str], read: Callable[[str], Reading]) -> Reading:
    first, last = pieces[0], pieces[-1]
    if len(pieces) > 2 and all(_VARIABLE.fullmatch(name) for name in pieces[:2]) and links[0] == "=":
        rest = _equalities(pieces[1:], links[1:], read)
        return Several((replace(rest, name=_plain(first)), rest)) if isinstance(rest, Named) else rest
    if _NAME.fullmatch(first) and not _occurs(first, pieces[1:]):
        values = [read(piece) for piece in pieces[1:]]
        if _agree(values, links[1:], pieces[1:]):
            value = values[0] if len(values) == 1 else Chain(tuple(values), tuple(map(_plain, pieces[1:])))
            return Named(_plain(first), value, _equation(first, pieces[1]))
        return Unread("=".join(map(_plain, pieces)))
    if len(pieces) == 2 and _NAME.fullmatch(last) and not _occurs(last, pieces[:1]) and links == ["="]:
        return Named(_plain(last), read(first), _equation(first, last))
    values = [read(piece) for piece in pieces]
    if _agree(values, links, pieces):
        return Chain(tuple(values), tuple(map(_plain, pieces)))
    equation = _equation(first, last) if len(pieces) == 2 and links == ["="] else None
    return equation or Unread("=".join(map(_plain, pieces)))


def _equation(left: str, right: str) -> Condition | None:
    sides = read_expression(left), read_expression(right)
    if any(not isinstance(side, sympy.Expr) for side in sides):
        return None
    difference = sides[0] - sides[1]
    return Condition(difference, "=") if difference.free_symbols else None


def _agree(values: Sequence[Reading], links: Sequence[str], pieces: Sequence[str]) -> bool:
    """Whether neighbours in a chain are equal, or as nearly as their decimals can say."""
    for place, link in enumerate(links):
        left, right = values[place], values[place + 1]
        if not isinstance(left, Value) or not isinstance(right, Value):
            return False
        if same_expression(left.expression, right.expression):
            continue
        if link == "=" and not any(_DECIMAL.fullmatch(piece) for piece in pieces[place : place + 2]):
            return False
        if not _rounded(left, right):
            return False
    return True


def _rounded(left: Value, right: Value) -> bool:
    """Whether one is a decimal for the other, to its last place."""
    numbers = [real_number(side.expression) for side in (left, right)]
    places = [len(match[1]) for side in (left, right) if (match := _DECIMAL.fullmatch(side.text))]
    if None in numbers or not places:
        return False
    return bool(abs(numbers[0] - numbers[1]) <= sympy.Rational(1, 10 ** min(places)))


def _inequalities(pieces: Sequence[str], links: Sequence[str]) -> Reading | None:
    expressions = [read_expression(piece) for piece in pieces]
    if any(not isinstance(side, sympy.Expr) for side in expressions) or not set(links) <= _FLIPPED.keys():
        return None
    sets, conditions = [], []
    for left, sign, right in zip(expressions, links, expressions[1:], strict=False):
        bound = _bound(left, sign, right)
        conditions.append(_condition(left, sign, right))
        sets.append(bound)
    symbols = set().union(*(side.free_symbols for side in expressions))
    if len(symbols) == 1 and all(region is not None for region in sets):
        return Region(sympy.Intersection(*sets), str(next(iter(symbols))))
    return conditions[0] if len(conditions) == 1 and conditions[0] is not None else None


def _bound(left: sympy.Expr, sign: str, right: sympy.Expr) -> sympy.Set | None:
    """What a condition on one variable allows, the variable on either side, linear at most."""
    if left.free_symbols and right.free_symbols:
        return None
    if right.free_symbols:
        left, sign, right = right, _FLIPPED[sign], left
    if len(left.free_symbols) != 1:
        return None
    (variable,) = left.free_symbols
    if left != variable:
        slope = sympy.diff(left, variable)
        if slope.free_symbols or not slope.is_number or real_number(slope) in (None, 0):
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
    return re.sub(r"\\(?:text|cdot|left|right)|[\s{}()]", "", text)
