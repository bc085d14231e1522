r"""The rule of the verifier `qwen2.5-math`: what is equal to the evaluation of Qwen2.5-Math, algebra included.

The text comes from `aepo_rllib.envs.grading.qwen_text`, which also says whose protocol this is. Algebra runs only
inside a worker process, since it may take unlimited time and memory.

What differs from the published protocol: it falls back on evaluating an answer as Python, which this never does, so
an answer counts as not readable if LaTeX cannot tell, except that sets of numbers and names still have no order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

from aepo_rllib.envs.grading.qwen_text import close, prepared, spelling_verdict

_TUPLE = re.compile(r"[(\[].+[)\]]")
_MATRIX = re.compile(r"\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}", re.DOTALL)
_SET = re.compile(r"\{([^{}]*)\}")
_ITEM = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)|[A-Za-z]\w*", re.ASCII)
_SHORT_NAME = 2
"""How long the left side of an equation may be to count as the name of an unknown."""
T = TypeVar("T")


def qwen_equal(gold: str, answer: str) -> bool:
    """Whether `answer` counts as `gold`.

    Args:
        gold: The known answer, as a problem holds it.
        answer: The answer, as `qwen_text.extract_final` returned it.
    """
    return _equal(*prepared(gold, answer))


def _equal(known: str, given: str) -> bool:
    """Whether two tidied texts are equal: by spelling, part by part, or by algebra."""
    verdict = spelling_verdict(known, given)
    if verdict is not None:
        return verdict
    return any(equal(known, given) for equal in (_equal_tuples, _equal_matrices, _equal_equations, _equal_values))


def _equal_tuples(known: str, given: str) -> bool:
    """Tuples, intervals and what looks like them, part by part; the kinds of brackets do not matter."""
    if not (_TUPLE.match(known) and _TUPLE.match(given)):
        return False
    return _all_equal(known[1:-1].split(","), given[1:-1].split(","))


def _equal_matrices(known: str, given: str) -> bool:
    """Matrices, entry by entry."""
    one, other = _matrix(known), _matrix(given)
    if one is None or other is None or len(one) != len(other):
        return False
    return all(_all_equal(row, other_row) for row, other_row in zip(one, other, strict=True))


def _equal_equations(known: str, given: str) -> bool:
    """Two equations up to sign, or the value of an unknown and the same value alone."""
    one, other = known.split("="), given.split("=")
    if len(one) == len(other) == 2:
        difference, other_difference = (f"{left} - ({right})" for left, right in (one, other))
        return _equal_values(difference, other_difference) or _equal_values(f"-({difference})", other_difference)
    if len(one) == 2 and len(other) == 1 and len(one[0]) <= _SHORT_NAME:
        return _equal(one[1], given)
    if len(other) == 2 and len(one) == 1 and len(other[0]) <= _SHORT_NAME:
        return _equal(known, other[1])
    return False


def _all_equal(known: Sequence[str], given: Sequence[str]) -> bool:
    return len(known) == len(given) and all(map(_equal, known, given))


def _matrix(text: str) -> list[list[str]] | None:
    """The entries of a matrix, row by row; None if `text` is no matrix."""
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [row.strip() for row in found.group(1).split(r"\\")]
    return [[entry.strip() for entry in row.split("&")] for row in rows if row]


def _equal_values(known: str, given: str) -> bool:
    """Whether algebra finds both equal."""
    one, other = _read(known), _read(given)
    if str(one) == str(other):
        return True
    # Text that is not readable ends here: sympy's comparisons would evaluate it.
    if any(isinstance(side, str) for side in (one, other)):
        return False
    return any(_attempt(partial(test, one, other)) for test in _TESTS)


def _equal_exactly(one: Any, other: Any) -> bool:
    return one == other


def _equal_expressions(one: Any, other: Any) -> bool:
    return bool(one.equals(other))


def _no_difference(one: Any, other: Any) -> bool:
    from sympy import simplify

    return simplify(one - other) == 0


def _equal_distances(one: Any, other: Any) -> bool:
    """Two relations by how far apart their sides are, whatever the relation: so crude is the protocol."""
    return bool(abs(one.lhs - one.rhs).equals(abs(other.lhs - other.rhs)))


def _close_numbers(one: Any, other: Any) -> bool:
    from sympy import N

    return close(float(N(one)), float(N(other)))


def _close_matrices(one: Any, other: Any) -> bool:
    """Matrices up to three decimals."""
    return one.shape == other.shape and _rounded(one).equals(_rounded(other))


def _rounded(matrix: Any) -> Any:
    return matrix.applyfunc(lambda entry: round(entry, 3))


_TESTS: tuple[Callable[[Any, Any], bool], ...] = (
    _equal_exactly,
    _equal_expressions,
    _no_difference,
    _equal_distances,
    _close_numbers,
    _close_matrices,
)
"""Any of them may fail on what it does not fit, which counts as not equal."""


@lru_cache(maxsize=128)
def _read(text: str) -> Any:
    r"""The mathematics that `text` is, or the longest beginning that makes sense as such; else `text` itself.

    A line break `\\` is also tried as a single backslash, which doubles where completions are stored.
    """
    from sympy.parsing.latex import parse_latex

    for reader in (parse_latex, _read_set, _read_matrix):
        for spelling in (text.replace("\\\\", "\\"), text):
            value = _attempt(partial(reader, spelling))
            if value is not None:
                return value
    return text


def _read_set(text: str) -> Any:
    """A set of plain numbers and names; None for anything else."""
    from sympy import Number, Symbol

    braced = _SET.fullmatch(text)
    items = braced.group(1).split(",") if braced else []
    if not items or not all(map(_ITEM.fullmatch, items)):
        return None
    return frozenset(Symbol(item) if item[0].isalpha() else Number(item) for item in items)


def _read_matrix(text: str) -> Any:
    """A matrix or determinant; None for other text, of which this reader understands more than the protocol's does."""
    from latex2sympy2_extended import latex2sympy

    return latex2sympy(text) if "matrix}" in text else None


def _attempt(step: Callable[[], T]) -> T | None:
    """What `step` returns, or None if it raises: libraries meet hostile text in many unforeseen ways."""
    try:
        return step()
    except MemoryError:  # says nothing about the answer; the worker reports it
        raise
    except Exception:
        return None
