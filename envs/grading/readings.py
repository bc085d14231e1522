r"""What an answer can be, once it has been read: `read("x = 5")` is `Named("x", Value(5))`.

A reading says what kind of thing an answer is, and that decides what may equal it: `IV` is a word, not a product of
two letters, `10-20` a range, not a difference, `101_2` a number in base 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy


@dataclass(frozen=True)
class Unread:
    """What could not be read: equal to its own spelling, and to nothing else."""

    text: str


@dataclass(frozen=True)
class Words:
    """A name, a word, a sequence of letters."""

    text: str
    """Without case, blanks and punctuation."""


@dataclass(frozen=True)
class Value:
    """An expression or matrix.

    Attributes:
        expression: With exact numbers.
        text: As it was written.
        unit: The unit behind it, where it is a known one.
        bare: The value without what may be a unit, or a factor: `5 m`.
    """

    expression: Any
    text: str
    unit: str | None = None
    bare: Value | None = None


@dataclass(frozen=True)
class Based:
    """A number in a base other than ten."""

    digits: str
    base: int


@dataclass(frozen=True)
class Pair:
    """Numbers with a dash or colons between them."""

    kind: str
    """range, clock or ratio"""
    parts: tuple[Any, ...]
    half_day: str = ""
    """am or pm of a clock."""


@dataclass(frozen=True)
class Several:
    """Values in any order: a list, both signs of `\\pm 5`, a set."""

    items: tuple[Reading, ...]
    is_set: bool = False
    """In braces: repeats say nothing there."""
    in_words: bool = False
    """Joined by "and" or "or": they cannot be the entries of a point."""


@dataclass(frozen=True)
class Entries:
    """Values in their order: a point, a vector, an interval."""

    items: tuple[Reading, ...]
    brackets: str
    """Two characters; `<>` of a vector."""


@dataclass(frozen=True)
class Region:
    """A set of real numbers."""

    set: sympy.Set
    variable: str = ""


@dataclass(frozen=True)
class Condition:
    """An equation or inequality in variables: `difference sign 0`."""

    difference: Any
    sign: str
    """=, < or \\le"""


@dataclass(frozen=True)
class Named:
    """A value that is given a name: `x = 5`, `f(x) = 2x`."""

    name: str
    value: Reading
    condition: Condition | None
    is_quantity: bool = False
    """The name is a formula, `m + n = 9`: an answer of 9, but as a known answer an equation."""


@dataclass(frozen=True)
class Chain:
    """Closed expressions, or identical ones, that are said to be equal, and are: `2 + 3 = 5`."""

    values: tuple[Reading, ...]
    spelling: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The letter of a choice with what it stands for: `(C) 12`."""

    letter: str
    value: Reading


@dataclass(frozen=True)
class Congruence:
    """`left \\equiv remainder \\pmod{modulus}`; the left side may be left out."""

    left: Reading | None
    remainder: Any
    modulus: Any


Reading = (
    Unread | Words | Value | Based | Pair | Several | Entries | Region | Condition | Named | Chain | Choice | Congruence
)
Read = Callable[[str], Reading]
"""Reads a part of an answer."""
