"""Sets of real numbers: intervals, their unions, and what inequalities in one variable say."""

from __future__ import annotations

from typing import Any

import sympy

from aepo_rllib.envs.grading.expressions import real_number, same_expression

ALL_REALS = sympy.S.Reals
KNOWN_SETS = {
    **dict.fromkeys(("∅", r"\emptyset"), sympy.S.EmptySet),
    **dict.fromkeys(("ℝ", r"\mathbbR"), ALL_REALS),
    **dict.fromkeys(("ℝ+", r"\mathbbR^+", r"\mathbbR_+", r"\mathbbR_>0"), sympy.Interval.open(0, sympy.oo)),
}
"""Sets that have a name, by their sign and by LaTeX without braces."""


def interval(low: Any, high: Any, brackets: str) -> sympy.Set | None:
    """The interval between two closed real expressions; None where there is none."""
    values = [bound if bound in (sympy.oo, -sympy.oo) else real_number(bound) for bound in (low, high)]
    if None in values or values[0] == sympy.oo or values[1] == -sympy.oo:
        return None
    if not (values[0] < values[1] or (values[0] == values[1] and brackets == "[]")):
        return None  # (0,0) is a point
    return sympy.Interval(low, high, brackets[0] == "(", brackets[1] == ")")


def from_condition(sign: str, bound: Any) -> sympy.Set | None:
    """What `x sign bound` allows for x; None where the bound is no real number, or infinity."""
    if bound in (sympy.oo, -sympy.oo):
        allowed = {("<", True), (r"\le", True), (">", False), (r"\ge", False)}
        return ALL_REALS if (sign, bound == sympy.oo) in allowed else None
    if real_number(bound) is None:
        return None
    return {
        "<": sympy.Interval.open(-sympy.oo, bound),
        r"\le": sympy.Interval(-sympy.oo, bound),
        ">": sympy.Interval.open(bound, sympy.oo),
        r"\ge": sympy.Interval(bound, sympy.oo),
        r"\ne": sympy.Complement(ALL_REALS, sympy.FiniteSet(bound)),
    }[sign]


def same_region(one: sympy.Set, other: sympy.Set) -> bool:
    """Whether two sets consist of the same intervals and points."""
    if one == other:
        return True
    pieces = _pieces(one), _pieces(other)
    if None in pieces or len(pieces[0] or ()) != len(pieces[1] or ()):
        return False
    return all(
        left[2:] == right[2:] and all(map(_same_end, left[:2], right[:2]))
        for left, right in zip(pieces[0] or (), pieces[1] or (), strict=True)
    )


def _pieces(region: sympy.Set) -> list[tuple[Any, Any, bool, bool]] | None:
    """(low, high, open below, open above) of each piece, in order; None where there are others."""
    found = []
    for piece in region.args if isinstance(region, sympy.Union) else (region,):
        if isinstance(piece, sympy.Interval):
            found.append((piece.start, piece.end, bool(piece.left_open), bool(piece.right_open)))
        elif isinstance(piece, sympy.FiniteSet):
            found += [(point, point, False, False) for point in piece.args]
        else:
            return None
    return sorted(found, key=lambda ends: tuple(float(end) for end in ends[:2]))


def _same_end(one: Any, other: Any) -> bool:
    return bool(one == other) or (one.is_finite is True and other.is_finite is True and same_expression(one, other))
