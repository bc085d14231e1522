"""Exact arithmetic on untrusted expressions, compared with Python's own parser and exact fractions."""

from __future__ import annotations

import ast
import itertools
import operator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.envs.grading import check_countdown
from aepo_rllib.envs.grading.countdown import ExpressionError, parse_expression
from aepo_rllib.envs.problems import arithmetic_problems

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
SPELLINGS = {
    "*": ["*", r"\times ", r"\cdot ", "×", "·"],
    "/": ["/", r"\div ", "÷"],
    "-": ["-", "−"],
    "+": ["+"],
}


def by_ast(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    assert isinstance(node, ast.BinOp)
    return OPERATORS[type(node.op)](by_ast(node.left), by_ast(node.right))


def expressions() -> st.SearchStrategy[str]:
    numbers = st.integers(0, 999).map(str)
    return st.recursive(
        numbers,
        lambda inner: st.one_of(
            inner.map(lambda text: f"({text})"),
            st.tuples(inner, st.sampled_from(["+", " - ", "*", "/ "]), inner).map("".join),
        ),
        max_leaves=12,
    )


@given(expressions(), st.data())
@settings(max_examples=300, deadline=None)
def test_value_and_numbers_agree_with_python(text: str, data: st.DataObject) -> None:
    tree = ast.parse(text, mode="eval").body
    written = "".join(data.draw(st.sampled_from(SPELLINGS[c])) if c in SPELLINGS else c for c in text)
    if len(written) > 200:
        return
    try:
        expected = by_ast(tree)
    except ZeroDivisionError:
        with pytest.raises(ExpressionError, match="division by zero"):
            parse_expression(written)
        return
    expression = parse_expression(written)
    assert expression.value == expected
    assert sorted(expression.numbers) == sorted(node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert check_countdown(text, (1, 2), 3) in (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1+",
        "-1+2",
        "+1",
        "1--2",
        "1 2",
        "2(3)",
        "(1)(2)",
        "1+(2",
        "1+2)",
        "()",
        "1**2",
        "1//2",
        "2^3",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "٣",  # an Arabic digit
        "²",
        "x",
        "1=1",
        r"\timesx",
        r"\frac{1}{2}",
        "1/0",
        "1/(2-2)",
        "1234567",
        "9" * 201,
        "1+" * 100 + "1",
        "(" * 41 + "1" + ")" * 41,
        "(" * 200,
        "__import__('os').system('true')",
        "().__class__",
        "lambda:1",
        "1 if 1 else 2",
        "[1]",
        "1;2",
        "1#2",
        "1\x00",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_expression(text)


def test_limits_are_inclusive() -> None:
    assert parse_expression("(" * 40 + "1" + ")" * 40).value == 1
    assert parse_expression("999999").value == 999_999
    assert parse_expression("1+" * 99 + "1 ").value == 100
    assert parse_expression(r"\left(1+2\right)\times3").value == 9


def test_countdown_agrees_with_brute_force() -> None:
    """All expressions `a o b o c`, with either grouping, over small numbers."""
    numbers, target = (2, 3, 4), 10
    for used in itertools.product((2, 3, 4, 5), repeat=3):
        for first, second in itertools.product("+-*/", repeat=2):
            a, b, c = used
            for text in (f"({a}{first}{b}){second}{c}", f"{a}{first}({b}{second}{c})"):
                try:
                    value = by_ast(ast.parse(text, mode="eval").body)
                except ZeroDivisionError:
                    value = None
                expected = value == target and sorted(used) == sorted(numbers)
                assert check_countdown(text, numbers, target) is expected, text


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("2*3+4", True),
        ("$4+2*3$", True),
        (r"2 \times 3 + 4", True),
        ("10", False),  # the target itself
        ("2*5", False),
        ("2*3+4+4-4", False),  # a number used too often
        ("2*3+2*2", False),
        ("23-13", False),
        ("2*3+4=10", False),
    ],
)
def test_countdown_rules(answer: str, right: bool) -> None:
    assert check_countdown(answer, (2, 3, 4), 10) is right


def test_fractions_are_exact() -> None:
    assert check_countdown("8/(3-8/3)", (8, 3, 8, 3), 24)
    assert not check_countdown("1/3*3", (1, 3, 4), 1)


def test_every_generated_solution_is_right() -> None:
    for problem in arithmetic_problems("validation"):
        if problem.verifier == "countdown":
            assert check_countdown(problem.answer, problem.extra["numbers"], problem.extra["target"])
