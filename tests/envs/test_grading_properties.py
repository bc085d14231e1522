"""What sympy knows of an expression, the grader finds out from its LaTeX: equal forms are equal, others are not."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aepo_rllib.envs.grading.literals import literal_verdict
from aepo_rllib.envs.grading.symbolic import math_equal

X, Y = sympy.symbols("x y")
LEAVES = st.sampled_from([X, Y, *map(sympy.Integer, range(-4, 6)), sympy.Rational(1, 2), sympy.Rational(-3, 4)])


def grown(children: st.SearchStrategy[sympy.Expr]) -> st.SearchStrategy[sympy.Expr]:
    pairs = st.tuples(children, children)
    return st.one_of(
        pairs.map(lambda two: two[0] + two[1]),
        pairs.map(lambda two: two[0] * two[1]),
        children.map(lambda one: one**2),
        children.map(lambda one: sympy.sqrt(one**2 + 2)),
    )


EXPRESSIONS = st.recursive(LEAVES, grown, max_leaves=5)


def judged(gold: str, answer: str) -> bool:
    verdict = literal_verdict(gold, answer)
    return math_equal(gold, answer) if verdict is None else verdict


@settings(max_examples=80, deadline=None)
@given(EXPRESSIONS, st.sampled_from([sympy.expand, sympy.factor, sympy.together, lambda expression: expression]))
def test_forms_of_an_expression_are_equal_and_neighbours_are_not(expression: sympy.Expr, form: object) -> None:
    known = sympy.latex(expression)
    assert judged(known, sympy.latex(form(expression)))  # type: ignore[operator]
    assert not judged(known, sympy.latex(expression + 1))
    assert not judged(known, sympy.latex(expression + X / 1000))
    if expression != 0:
        assert not judged(known, sympy.latex(-expression))
        assert not judged(known, sympy.latex(expression * sympy.Rational(1001, 1000)))


@given(st.fractions(-50, 50, max_denominator=40), st.integers(-30, 30))
def test_numbers_are_equal_to_their_own_value_alone_however_small(value: Fraction, exponent: int) -> None:
    scaled = value * Fraction(10) ** exponent
    written = rf"\frac{{{value.numerator}}}{{{value.denominator}}} \cdot 10^{{{exponent}}}"
    known = f"{scaled.numerator}/{scaled.denominator}"
    assert judged(known, written)
    assert judged(known, rf"x = {written}")
    if value:
        assert not judged(known, rf"{written} \cdot 1.0001")
        assert not judged(known, written.replace(f"{{{exponent}}}", f"{{{exponent + 1}}}"))


BOUNDS = st.integers(-9, 9)
SIGNS = {False: "<", True: r"\le"}


@given(BOUNDS, BOUNDS, st.booleans(), st.booleans())
def test_intervals_and_inequalities_agree_on_every_end(
    low: int, high: int, closed_low: bool, closed_high: bool
) -> None:
    assume(low < high)

    def interval(left: bool, right: bool) -> str:
        return f"{'[' if left else '('}{low}, {high}{']' if right else ')'}"

    def inequality(left: bool, right: bool) -> str:
        return f"{low} {SIGNS[left]} t {SIGNS[right]} {high}"

    for left in (False, True):
        for right in (False, True):
            same = (left, right) == (closed_low, closed_high)
            assert judged(interval(closed_low, closed_high), inequality(left, right)) is same
            assert judged(inequality(closed_low, closed_high), interval(left, right)) is same


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_lists_are_multisets_and_points_are_not(values: list[int], random: object) -> None:
    known = ", ".join(map(str, values))
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judged(known, ", ".join(map(str, shuffled)))
    assert not judged(known, ", ".join(map(str, shuffled[1:])))
    assert not judged(known, ", ".join(map(str, [*shuffled, 7])))
    assert not judged(known, ", ".join(map(str, [shuffled[0] + 20, *shuffled[1:]])))
    assert judged(f"({known})", f"({', '.join(map(str, shuffled))})") is (shuffled == values)


@pytest.mark.parametrize("base", range(2, 17))
def test_bases_are_not_ignored(base: int) -> None:
    digits = "10011"
    assert judged(f"{digits}_{{{base}}}", rf"({digits})_{{{base}}}")
    for other in range(2, 17):
        if other != base:
            assert not judged(f"{digits}_{{{base}}}", f"{digits}_{{{other}}}")
