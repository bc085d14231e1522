r"""Units and other words around a number: `12 cm^2`, `60 \frac{\text{km}}{\text{h}}`, `5 dollars`, `36^\circ C`.

A unit may be left out, or named where the known answer has none. Two units that are both known must be the same one:
`5\text{ m}` is not `5\text{ cm}`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAMES = {
    "mm": "millimeter millimetre",
    "cm": "centimeter centimetre",
    "m": "meter metre",
    "km": "kilometer kilometre",
    "in": "inch inche",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "mg": "milligram",
    "g": "gram gm",
    "kg": "kilogram",
    "lb": "lbs pound",
    "oz": "ounce",
    "s": "sec second",
    "min": "minute",
    "h": "hr hrs hour",
    "day": "",
    "week": "",
    "month": "",
    "year": "yr yrs",
    "l": "liter litre",
    "ml": "milliliter millilitre",
    "gal": "gallon",
    "dollar": "usd",
    "cent": "",
    "°": "deg degree",
    "rad": "radian",
    "j": "joule",
    "kj": "kilojoule",
    "n": "newton",
    "w": "watt",
    "kw": "kilowatt",
    "v": "volt",
    "hz": "hertz",
    "mph": "",
}
_KNOWN = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_LETTERS = frozenset("msghlLNJWV")
"""Letters that a unit may be, behind a number; `n` and `x` are factors."""
_SHORT = frozenset((*(name for name in _KNOWN if len(name) == 2), *["sq", "cu", "dm", "nm", "pa", "ev", "cc"]))
"""Of two letters; longer words are taken for units whatever they are."""
_SURE = frozenset(("cm", "mm", "km", "kg", "ft"))
"""Of two letters, and yet hardly a product of two variables."""
_CHANGES_MEANING = frozenset(
    [
        "or",
        "more",
        "less",
        "fewer",
        "least",
        "most",
        "below",
        "above",
        "under",
        "over",
        "factorial",
        "squared",
        "cubed",
        "choose",
        "mod",
        "modulo",
        "base",
        "thousand",
        "million",
        "billion",
        "trillion",
        "hundred",
        "dozen",
        "half",
        "halves",
        "third",
        "thirds",
        "quarter",
        "quarters",
        "fifth",
        "fifths",
        "sixth",
        "sixths",
        "eighth",
        "eighths",
        "tenth",
        "tenths",
        "hundredth",
        "hundredths",
        "not",
        "no",
        "minus",
        "plus",
        "times",
        "divided",
        "negative",
        "power",
        "root",
        "infinity",
        "pi",
        "than",
        "except",
        "without",
        "greater",
        "smaller",
        "larger",
        "between",
        "unless",
        "if",
        "when",
        "for",
        "where",
        "any",
        "all",
        "some",
        "every",
        "each",
        "repeating",
        "mod",
        "remainder",
        "approximately",
        "about",
        "and",
        "to",
        "true",
        "false",
        "undefined",
        "none",
        "into",
        "minus",
        "log",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "dozens",
        "score",
        "twice",
        "thrice",
        "double",
        "triple",
    ]
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_WORD = re.compile(r"[A-Za-z]+")
_POWER = r"(?:\s*\^\s*(?:\d|\{-?\d\})|\s*[23](?![\d.]))?"
_UNIT_FRACTION = re.compile(
    r"\\frac\s*\{\s*\\text\s*\{([^{}]*)\}\s*(\^\{?\d\}?)?\s*\}\s*\{\s*\\text\s*\{([^{}]*)\}\s*(\^\{?\d\}?)?\s*\}$"
)
_TEXT_TAIL = re.compile(rf"(?:(?:\s|/|\\cdot|\*|\^\\circ)*\\text\s*\{{[^{{}}]*\}}{_POWER})+[\s.]*$")
_DEGREES = re.compile(r"\s*\^\\circ\s*(?:\\text\s*\{\s*)?([CFK])?(?:elsius|ahrenheit)?(?:\s*\})?\s*$")
_PLAIN_TAIL = re.compile(
    rf"(?<=[\d}})\s])\s*(?:[A-Za-z]+\.?{_POWER})(?:\s*(?:/|\\cdot|\*|\s)\s*(?:[A-Za-z]+\.?{_POWER}))*\s*$"
)


class Measured(NamedTuple):
    """A text without its unit."""

    text: str
    unit: str | None
    """As it is compared; None where there is none, or one that is not known."""
    certain: bool = True
    """Whether what was cut off can be nothing but a unit; `5m` may be a product."""


def split_unit(text: str) -> Measured | None:
    """What stands before the unit of `text`; None where it does not end in one."""
    if (match := _DEGREES.search(text)) and not _TRIGONOMETRIC.search(text):
        return _measured(text[: match.start()], "°" if not match[1] else f"°{match[1]}")
    if match := _UNIT_FRACTION.search(text):
        return _measured(text[: match.start()], f"{match[1]}{match[2] or ''}/{match[3]}{match[4] or ''}")
    if match := _TEXT_TAIL.search(text):
        return _measured(text[: match.start()], match.group())
    if match := _PLAIN_TAIL.search(text):
        words = _WORD.findall(match.group())
        if all(word in _LETTERS if len(word) == 1 else _is_unit(word.lower()) for word in words):
            certain = any(len(word) > 3 or word.lower() in _SURE for word in words)
            return _measured(text[: match.start()], match.group(), certain=certain)
    return None


def _is_unit(word: str) -> bool:
    return len(word) > 2 or word in _SHORT or word.removesuffix("s") in _SHORT


def changes_meaning(words: str) -> bool:
    """Whether a text holds a word that makes something else of the number beside it."""
    return not _CHANGES_MEANING.isdisjoint(word.lower() for word in _WORD.findall(words))


def _measured(text: str, unit: str, *, certain: bool = True) -> Measured | None:
    head = text.strip().rstrip("\\").strip()
    if not head or not re.search(r"\d|\\pi|\\sqrt|\\infty", head) or changes_meaning(unit):
        return None
    return Measured(head, _canonical(unit), certain)


def _canonical(unit: str) -> str | None:
    r"""One name for a unit that is known in all its parts: `\text{ metres}/\text{second}` as `m/s`."""
    plain = re.sub(r"\\text|\\cdot|[{}*^.]", " ", unit.replace("\\circ", "")).lower()
    plain = re.sub(r"\bper\b", "/", plain)
    plain = re.sub(r"\b(?:square|sq) ([a-z]+)", r"\1 2", plain)
    plain = re.sub(r"\b(?:cubic|cu) ([a-z]+)", r"\1 3", plain)
    parts = []
    for part in plain.split():
        for piece in re.findall(r"[a-z°]+|\d|/", part):
            known = _KNOWN.get(piece) or _KNOWN.get(piece.removesuffix("s")) or (piece if not piece.isalpha() else None)
            if known is None:
                return None
            parts.append(known)
    return "".join(parts) or None
