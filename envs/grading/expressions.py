r"""One mathematical expression in LaTeX: reading it into sympy, and whether two of them are equal.

Two closed expressions are equal when they agree to `DIGITS` digits, two with variables when they do so wherever they
are evaluated. That is no proof, but an error would take a coincidence of `DIGITS` digits, while rewriting both into
one form, the other way, misses much and takes long.

Runs only inside a worker process: some expressions take for ever (`5^{5^{5^{5}}}`) or eat all memory.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import latex2sympy
from sympy.core.function import AppliedUndef

from aepo_rllib.envs.grading.signs import TRIGONOMETRIC

DIGITS = 30
_WORKING_DIGITS = DIGITS + 10
_POINTS = tuple(
    tuple(sympy.Rational(top * sign, bottom) for top, sign, bottom in row)
    for row in (
        ((37, 1, 29), (53, 1, 31), (41, 1, 17), (61, 1, 23), (71, 1, 43), (89, 1, 67)),
        ((19, 1, 47), (83, 1, 59), (29, 1, 61), (43, 1, 89), (17, 1, 31), (23, 1, 41)),
        ((59, -1, 43), (31, -1, 17), (67, -1, 37), (73, -1, 53), (47, -1, 29), (79, -1, 61)),
        ((101, 1, 13), (97, -1, 19), (103, 1, 11), (107, -1, 23), (109, 1, 7), (113, -1, 29)),
        ((3, 1, 1), (5, 1, 1), (2, 1, 1), (7, 1, 1), (4, 1, 1), (6, 1, 1)),
        ((4, 1, 1), (3, 1, 1), (6, 1, 1), (2, 1, 1), (7, 1, 1), (5, 1, 1)),
    )
)
"""Values of the variables, in the order of their names: small and large, of both signs, and whole."""
_ENOUGH_POINTS = 2

_BINDING = (sympy.Integral, sympy.Derivative, sympy.Limit, sympy.Sum, sympy.Product)
_REWRITES = (
    (re.compile(r"(\d)\s*(?:x|X|\\times|\\cdot|\*)\s*10\s*\^\s*\{?([+-]?\d+)\}?"), r"\1\\cdot 10^{\2}"),
    (re.compile(r"(?<![A-Za-z\d.}])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d{1,4})(?![A-Za-z\d.])"), r"\1\\cdot 10^{\2}"),
    (re.compile(r"(?<![\d.])(\d+)\s*\\frac\{(\d+)\}\{(\d+)\}"), r"(\1+\\frac{\2}{\3})"),
    (re.compile(r"(?<![\d./^_])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])"), r"(\1+\\frac{\2}{\3})"),
    (re.compile(r"(?<=\d)\s*\("), r"\\cdot ("),  # the parser takes 2(1/3) for a mixed number
    (re.compile(r"(\d)\.(?![\d])"), r"\1"),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (re.compile(r"\\log_\{e\}"), r"\\ln "),
    (re.compile(r"\\cis\s*(\([^()]*\)|\\frac\{[^{}]*\}\{[^{}]*\}|[^\s+()]+)"), r"e^{i(\1)}"),
)
_SYMBOL = re.compile(
    r"\\text\s*\{[^{}]*\}|(?P<greek>\\gamma(?![A-Za-z]))|\\[A-Za-z]+"
    r"|(?P<letter>[A-Z]|[a-z](?=\s*_\{|\s*'|\s*\^\{?\s*\\prime))"
)
_INDEX = re.compile(r"\s*_\{([^{}]*)\}")
_PRIMES = re.compile(r"\s*(?:('+)|\^\{?\s*((?:\\prime\s*)+)\}?)")
_LARGEST_EXPONENT = 1000
_TWO_NUMBERS = re.compile(r"\d\s+[\d.]")


@lru_cache(maxsize=2048)
def read_expression(text: str) -> Any:
    """`text` as a sympy expression or matrix with exact numbers; None where it is none."""
    text = _in_degrees(text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _named_symbols(text)
    if not text.strip() or _TWO_NUMBERS.search(text):  # the parser would add two numbers
        return None
    try:
        parsed = latex2sympy(text, normalization_config=None)
        if isinstance(parsed, sympy.MatrixExpr):
            parsed = parsed.doit()
        if isinstance(parsed, sympy.MatrixBase):
            return sympy.ImmutableMatrix(parsed.applyfunc(_exact))
        return _exact(parsed) if isinstance(parsed, sympy.Expr) else None
    except MemoryError:
        raise
    except Exception:  # the parser raises what it likes, Exception itself included
        return None


def is_scalar(expression: Any) -> bool:
    """Whether it is an expression, and no matrix (which counts as one in sympy)."""
    return isinstance(expression, sympy.Expr) and not isinstance(expression, sympy.MatrixBase)


def same_expression(one: Any, other: Any) -> bool:
    """Whether two expressions or matrices are equal."""
    if isinstance(one, sympy.MatrixBase) or isinstance(other, sympy.MatrixBase):
        return (
            isinstance(one, sympy.MatrixBase)
            and isinstance(other, sympy.MatrixBase)
            and one.shape == other.shape
            and all(map(same_expression, one, other))
        )
    if one == other:
        return not one.has(sympy.nan, sympy.zoo)
    if not one.free_symbols and not other.free_symbols:
        return _same_number(one, other)
    if _is_endless(one) or _is_endless(other):
        return False  # a series with variables takes for ever, and is known by its spelling
    agreements = _compare_at_points(one, other)
    return len(agreements) >= _ENOUGH_POINTS and all(agreements)


def proportion(one: Any, other: Any) -> Any:
    """The number c with `one == c * other` wherever they are evaluated, other than zero; None where there is none."""
    if not one.free_symbols or one.free_symbols != other.free_symbols or _is_endless(one) or _is_endless(other):
        return None
    factors = []
    for values in _values(one, other):
        top, bottom = (_number(_at(side, values)) for side in (one, other))
        if top is None or bottom is None or not bottom or not top:
            continue
        factors.append(top / bottom)
    if len(factors) < _ENOUGH_POINTS or not all(_close(factor, factors[0]) for factor in factors):
        return None
    return factors[0]


def real_number(expression: Any) -> Any:
    """The value of a closed real expression, to `DIGITS` digits; None for anything else."""
    if not is_scalar(expression) or expression.free_symbols:
        return None
    value = _number(expression)
    return None if value is None or sympy.im(value) != 0 else sympy.re(value)


def _in_degrees(text: str) -> str:
    """Degrees inside of trigonometric functions as radians; elsewhere the sign is a unit."""
    if TRIGONOMETRIC.search(text):
        return re.sub(r"(\d+(?:\.\d+)?)\s*\^\\circ", r"(\\frac{\1\\pi}{180})", text)
    return text.replace(r"^\circ", "")


def _named_symbols(text: str) -> str:
    r"""Names that the parser would misread as symbols that it knows: capitals, which it takes for small letters,
    `E_{1}`, the function `\gamma`, and primes, which it drops."""
    pieces, start = [], 0
    for match in _SYMBOL.finditer(text):
        letter = match["letter"] or ("g" if match["greek"] else None)
        if match.start() < start or letter in (None, "C"):  # c and C are constants alike
            continue
        end = match.end()
        index = _INDEX.match(text, end)
        end = index.end() if index else end
        primes = _PRIMES.match(text, end)
        count = (len(primes[1] or "") + (primes[2] or "").count("prime")) if primes else 0
        end = primes.end() if primes else end
        plain = letter.islower() and not match["greek"] and not count and letter not in "ei"
        if plain or (letter == "I" and not index):
            continue
        tags = ("greek" * bool(match["greek"]), "capital" * letter.isupper(), "prime" * count)
        inside = re.sub(r"[^A-Za-z0-9]", "", index[1]) if index else ""
        base = letter.lower() if letter not in "EeIiSsNnOoQqCc" else "x"
        pieces += [text[start : match.start()], f"{base}_{{{letter.lower()}{''.join(tags)}{inside}}}"]
        start = end
    return "".join(pieces) + text[start:]


def _exact(expression: Any) -> Any:
    """Decimals as fractions, i as the imaginary unit, values of unknown functions and derivatives as variables."""
    if not isinstance(expression, sympy.Basic):
        return expression
    floats = () if any(map(_is_huge, expression.atoms(sympy.Pow))) else expression.atoms(sympy.Float)
    changes: dict[Any, Any] = {number: sympy.Rational(str(number)) for number in floats}
    changes |= {call: sympy.Symbol(str(call)) for call in expression.atoms(AppliedUndef)}
    for derivative in expression.atoms(sympy.Derivative):
        if isinstance(derivative.expr, sympy.Symbol | AppliedUndef):  # of a quantity, not of a formula
            changes[derivative] = sympy.Symbol(str(derivative).replace(" ", ""))
    if sympy.Symbol("i") in expression.free_symbols:
        changes[sympy.Symbol("i")] = sympy.I
    expression = expression.xreplace(changes)
    lazy = expression.has(*_BINDING, sympy.UnevaluatedExpr) or not expression.free_symbols
    return expression.doit() if lazy and not _is_endless(expression) else expression


def _is_endless(expression: Any) -> bool:
    """Whether there is a sum or product without an end in it."""
    return any(sympy.oo in limit for total in expression.atoms(sympy.Sum, sympy.Product) for limit in total.limits)


def _is_huge(power: sympy.Pow) -> bool:
    """Whether a power of a decimal would have more digits than there is memory, as an exact fraction."""
    exponent = power.exp.evalf(5) if power.base.has(sympy.Float) and not power.exp.free_symbols else sympy.S.Zero
    return not exponent.is_comparable or bool(abs(exponent) > _LARGEST_EXPONENT)


def _same_number(one: Any, other: Any) -> bool:
    if one.is_Rational and other.is_Rational:
        return bool(one == other)
    if one.is_zero or other.is_zero:
        return bool((one - other).equals(0))
    values = _number(one), _number(other)
    return None not in values and _close(*values)


def _compare_at_points(one: Any, other: Any) -> list[bool]:
    """Whether the two agree, at each point where one has a value."""
    found: list[bool] = []
    for values in _values(one, other):
        left, right = _number(_at(one, values)), _number(_at(other, values))
        if left is None and right is None:
            continue
        found.append(left is not None and right is not None and _close(left, right))
        if not found[-1]:
            break
    return found


def _values(one: Any, other: Any) -> list[dict[Any, Any]]:
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    return [
        {symbol: row[place % len(row)] + place // len(row) for place, symbol in enumerate(symbols)} for row in _POINTS
    ]


def _at(expression: Any, values: dict[Any, Any]) -> Any:
    """The expression with values for its variables; those that a sum runs over are its own."""
    return expression.subs(values) if expression.has(*_BINDING) else expression.xreplace(values)


def _number(expression: Any) -> Any:
    """The finite value of a closed expression; None where it has none."""
    try:
        value = expression.evalf(_WORKING_DIGITS)
    except (ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError):
        return None
    parts = value.as_real_imag() if isinstance(value, sympy.Expr) else ()
    return value if parts and all(part.is_Float or part.is_Rational for part in parts) else None


def _close(one: Any, other: Any) -> bool:
    scale = max(abs(one), abs(other))
    return bool(abs(one - other) <= scale * sympy.Float(10) ** -DIGITS)
