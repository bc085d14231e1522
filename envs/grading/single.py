"""Rules that read one thing: a word, a number with its base or unit, a range, a congruence, an expression.

Each takes a normalized text, and a function that reads a part of it, and returns None where it finds something else.
"""

from __future__ import annotations

import re

import sympy

from aepo_rllib.envs.grading.brackets import split
from aepo_rllib.envs.grading.expressions import read_expression
from aepo_rllib.envs.grading.readings import (
    Based,
    Choice,
    Congruence,
    Entries,
    Pair,
    Read,
    Reading,
    Region,
    Several,
    Value,
    Words,
)
from aepo_rllib.envs.grading.regions import KNOWN_SETS
from aepo_rllib.envs.grading.units import changes_meaning, split_unit
from aepo_rllib.envs.grading.words import number_in_words, plain_words, scaled

_NUMBER = r"\d+(?:\.\d+)?"
_BASES = {
    **{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
    **{"eleven": 11, "twelve": 12, "sixteen": 16},
    **{"binary": 2, "ternary": 3, "octal": 8, "hexadecimal": 16, "hex": 16},
}
_DIGITS = r"(?:\\text\s*\{\s*)?\(?\s*(?P<digits>[0-9A-Fa-f][0-9A-Fa-f .]*?)\s*\)?\s*\}?\s*"
_BASED = re.compile(
    _DIGITS
    + r"(?:_\s*\{\s*\(?\s*(?:base)?[ ]*(?P<low>\w+)\s*\)?\s*\}"
    + r"|(?:\\text\s*\{)?[\s(,]*(?:in )?base[- ]*\}?\s*(?:\\text\s*\{)?\s*(?P<word>\w+)\s*\)?\s*\}?"
    + r"|\\text\s*\{\s*\(?(?:in )?(?P<name>binary|octal|hexadecimal|hex)\)?\s*\})"
)
_RANGE = re.compile(rf"({_NUMBER})\s*(?:-{{1,2}}|\\text\s*\{{\s*(?:to|-{{1,2}})\s*\}}|to)\s*({_NUMBER})")
_CLOCK = re.compile(
    r"(\d{1,2})(?::([0-5]\d)(?::([0-5]\d))?)?\s*(?:\\text\s*\{)?\s*([ap])?(?(4)\.?\s*m\.?)\s*\}?", re.IGNORECASE
)
_MODULUS = re.compile(
    r"\s*[,(]?\s*\(?\s*\\?(?:pmod|bmod|mod|text\s*\{\s*\(?mod\s*\}?)\s*\{?\s*([^{}()]+?)\s*\)?\s*\}?\s*\)?$"
)
_LETTERS = re.compile(r"[A-Za-z]{2,}|[A-Za-z]{1,3}\d+[A-Za-z\d]*")
_MARKED = re.compile(
    r"\\(?:triangle|angle|measuredangle|overline|overrightarrow|overleftrightarrow|vec|text|mathrm|odot)(?![A-Za-z])"
    r"|[\s{}]"
)
_CHOICE = re.compile(r"\\?(?:text)?\s*\{?\s*(?:[Oo]ption|[Cc]hoice)?\s*\(?\s*([A-Z])\s*[).:]?\s*\}?")
_CHOSEN = re.compile(r"\\?(?:text)?\s*\{?\s*\(?([A-J])[).:]\s*\}?\s*(?!\\l(?:and|or)|[,;])(\S.*)")


def word(text: str, read: Read) -> Reading | None:
    """A name, a word, a number in words, the letter of a choice, a sequence of letters."""
    if (choice := _CHOICE.fullmatch(text)) is not None:
        return Value(read_expression(choice[1]), choice[1])
    if (number := number_in_words(text)) is not None:
        return Value(sympy.Rational(number.numerator, number.denominator), str(number))
    bare = _MARKED.sub("", text)
    if _LETTERS.fullmatch(bare) or (re.fullmatch(r"\\text\s*\{[^{}]*\}", text) and not re.search(r"\d", text)):
        plain = plain_words(text)
        known = KNOWN_SETS.get(plain)
        if known is not None:
            return Region(known)
        return Value(read_expression(bare), bare) if len(bare) == 1 and bare.isalpha() else Words(plain)
    return None


def choice(text: str, read: Read) -> Reading | None:
    """`(C) 12`."""
    match = _CHOSEN.fullmatch(text)
    return None if match is None else Choice(match[1], read(match[2].rstrip("}") if "{" not in match[2] else match[2]))


def scaled_number(text: str, read: Read) -> Reading | None:
    r"""`1.5 \text{ million}`."""
    found = scaled(text)
    inner = read(found[0]) if found else None
    if not isinstance(inner, Value) or found is None or inner.expression.free_symbols:
        return None
    unit = split_unit(rf"1 \text{{ {found[2]}}}") if found[2] else None
    return Value(inner.expression * sympy.Integer(10) ** found[1], text, unit.unit if unit else None)


def number_in_base(text: str, read: Read) -> Reading | None:
    r"""`101_2`, `101 \text{ (base 2)}`."""
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    low = match["low"] or match["word"] or match["name"]
    base = _BASES.get(low.lower(), int(low) if low.isdecimal() and len(low) < 3 else 0)
    digits = match["digits"].replace(" ", "").lstrip("0").upper() or "0"
    decimal = digits.replace(".", "").isdecimal()
    if not 2 <= base <= 36 or not (decimal or base == 16):
        return None
    return read(digits) if base == 10 else Based(digits, base)


def pair(text: str, read: Read) -> Reading | None:
    """A range, a time of day, a ratio."""
    if (match := _CLOCK.fullmatch(text)) and (match[2] or match[4]):
        hour, minute, second, half = match.groups()
        return Pair("clock", (int(hour), int(minute or 0), int(second or 0)), (half or "").lower())
    if match := _RANGE.fullmatch(text):
        kind = "to" if "to" in text else "range"
        return Pair(kind, tuple(read_expression(number) for number in match.groups()))
    parts = split(re.sub(r"\\text\s*\{\s*out of\s*\}", ":", text), ":")
    if len(parts) > 1 and r"\{" not in text:
        values = [read(part) for part in parts]
        if all(isinstance(value, Value) for value in values):
            return Pair("ratio", tuple(value.expression for value in values if isinstance(value, Value)))
    return None


def congruence(text: str, read: Read) -> Reading | None:
    r"""`n \equiv 1 \pmod 3`."""
    left, sign, rest = text.partition(r"\equiv")
    modulus = _MODULUS.search(rest if sign else text)
    if modulus is None:
        return None
    numbers = read_expression((rest if sign else text)[: modulus.start()]), read_expression(modulus[1])
    if None in numbers:
        return None
    left_side = read(left) if sign else None
    if isinstance(left_side, Value) and not left_side.expression.free_symbols and numbers[0].free_symbols:
        return Congruence(Value(numbers[0], ""), left_side.expression, numbers[1])  # 3 \equiv x
    return Congruence(left_side, *numbers)


def measured(text: str, read: Read) -> Reading | None:
    """A value with its unit."""
    found = split_unit(text)
    if found is None:
        return None
    inner = read(found.text)
    if isinstance(inner, Value) and inner.unit is None:
        measured = Value(inner.expression, inner.text, found.unit)
        if found.certain:
            return measured
        product = read_expression(text)
        return measured if product is None else Value(product, text, bare=measured)
    return inner if found.certain and isinstance(inner, Several | Entries | Pair) else None


def expression(text: str, read: Read) -> Reading | None:
    """Anything that the parser takes for an expression."""
    said = "".join(re.findall(r"\\text\s*\{([^{}]*)\}", text))
    if len(said.strip()) > 1 and (
        changes_meaning(said) or " " in said.strip() or not re.search(r"\d|\\(?!text)", text)
    ):
        return None  # what is said in words is none of the factors
    expression = read_expression(text)
    return None if expression is None else Value(expression, text)
