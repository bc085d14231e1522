r"""Units and other words behind a number: `12 cm^2`, `60 \frac{\text{km}}{\text{h}}`, `5 dollars`, `36^\circ C`.

A unit may be left out, or named where the known answer has none. Two that are named must be the same one:
`5\text{ m}` is not `5\text{ cm}`. A word that makes another number of the one before it (`5 \text{ or more}`,
`5 \text{ million}`) is no unit.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from aepo_rllib.envs.grading.signs import TRIGONOMETRIC

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
    "year": "yr yrs",
    "l": "liter litre",
    "ml": "milliliter millilitre",
    "gal": "gallon",
    "dollar": "usd",
    "euro": "eur",
    "°": "deg degree",
    "rad": "radian",
    "j": "joule",
    "kj": "kilojoule",
    "n": "newton",
    "w": "watt",
    "v": "volt",
    "hz": "hertz",
    "%": "percent percentage pct",
}
_KNOWN = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_GENERIC = frozenset(("unit", "units", "u"))
"""Stand for any unit."""
_LETTERS = frozenset("msghlLNJWVK")
"""Letters that a unit may be, behind a number; `n` and `x` are factors."""
_SHORT = frozenset((*(name for name in _KNOWN if len(name) == 2), "sq", "cu", "dm", "nm", "pa", "ev", "cc"))
"""Of two letters; longer words are taken for units whatever they are."""
_SURE = frozenset(("cm", "mm", "km", "kg", "ft", "in", "mi", "lb", "oz"))
"""Of two letters, and yet hardly a product of two variables."""
_CHANGES_MEANING = frozenset(
    """
    or more less fewer least most below above under over factorial squared cubed cubes choose mod modulo base
    thousand million billion trillion hundred dozen dozens half halves quarter quarters grand gross lakh crore
    bn mn k M score twice thrice double triple prime power root cube tens ones R r rem not no never none plus
    minus divided negative opposite reciprocal inverse than except without greater smaller larger between unless
    if when any all some every each other others remainder repeating recurring upwards onwards is are was isn
    wrong incorrect false true undefined impossible invalid extraneous nothing anything maybe perhaps possibly
    nearly almost alternatively otherwise instead either neither to and lor land log sqrt sin cos tan infinity
    pi zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty
    seventy eighty ninety
    """.split()  # noqa: SIM905 - a list of one word a line would fill three pages
)
_PARTS = re.compile(r"[a-z]+(?:nths?|dths?|fths?|xths?|ghths?|illions?|illionths?|rds|ths)$")
_WORD = re.compile(r"[A-Za-z]+")
_POWER = r"(?:\s*\^\s*(?:-?\d|\{-?\d\})|[23](?![\d.]))?"
_TEXT = rf"(?:\\mu\s*)?(?:\\text\s*\{{[^{{}}]*\}}|\\Omega(?![a-z])){_POWER}"
_UNIT_FRACTION = re.compile(rf"\\frac\s*\{{\s*({_TEXT}|[A-Za-z]+)\s*\}}\s*\{{\s*({_TEXT}|[A-Za-z]+{_POWER})\s*\}}$")
_TEXT_TAIL = re.compile(rf"(?:(?:\s|/|-|\\cdot|\\times|\*|\^\\circ)*{_TEXT})+[\s.]*$")
_DEGREES = re.compile(r"\s*\^\\circ\s*(?:\\text\s*\{\s*)?([CFK])?(?:elsius|ahrenheit|elvin)?(?:\s*\})?\s*$")
_PLAIN_TAIL = re.compile(
    rf"(?<=[\d}})\s])\s*(?:[A-Za-z]+\.?{_POWER})(?:\s*(?:/|\\cdot|\*|\s)\s*(?:[A-Za-z]+\.?{_POWER}))*\s*$"
)
_POWERS = re.compile(r"\^\s*\{?-?\d\}?|(?<=[a-z}])[23](?!\d)")
_NUMERIC = re.compile(r"\d|\\pi|\\sqrt|\\infty")


class Measured(NamedTuple):
    """A text without its unit."""

    text: str
    unit: str | None
    """As it is compared; None where it says nothing."""
    certain: bool = True
    """Whether what was cut off can be nothing but a unit; `5m` may be a product."""


def split_unit(text: str) -> Measured | None:
    """What stands before the unit of `text`; None where it does not end in one."""
    if (match := _DEGREES.search(text)) and not TRIGONOMETRIC.search(text):
        return _measured(text[: match.start()], "°" if not match[1] else f"°{match[1]}")
    if (match := _UNIT_FRACTION.search(text)) and _NUMERIC.search(text[: match.start()]):
        certain = r"\text" in match.group()
        return _measured(text[: match.start()], f"{match[1]}/{match[2]}", certain=certain)
    if match := _TEXT_TAIL.search(text):
        return _measured(text[: match.start()], match.group())
    if match := _PLAIN_TAIL.search(text):
        words = _WORD.findall(match.group())
        if all(word in _LETTERS if len(word) == 1 else _is_unit(word.lower()) for word in words):
            certain = any(len(word) > 3 or word.lower() in _SURE for word in words)
            return _measured(text[: match.start()], match.group(), certain=certain)
    return None


def changes_meaning(words: str) -> bool:
    """Whether a text holds a word, or a number, that makes something else of the number beside it."""
    found = _WORD.findall(words)
    return any(
        word in _CHANGES_MEANING
        or (len(word) > 1 and (word.lower() in _CHANGES_MEANING or _PARTS.fullmatch(word.lower())))
        for word in found
    )


def _is_unit(word: str) -> bool:
    return len(word) > 2 or word in _SHORT


def _measured(text: str, unit: str, *, certain: bool = True) -> Measured | None:
    head = text.strip().rstrip("\\").strip()
    if not head or not _NUMERIC.search(head) or changes_meaning(unit) or re.search(r"\d", _POWERS.sub("", unit)):
        return None
    return Measured(head, _canonical(unit), certain)


def _canonical(unit: str) -> str | None:
    r"""One name for a unit however it is written: `\text{ metres}/\text{second}` and `m s^{-1}` alike."""
    plain = re.sub(r"\\mu\s*(?:\\text\s*\{\s*)?", "micro", unit.replace("\\Omega", " ohm "))
    plain = re.sub(r"\\text|\\circ|\\cdot|\\times|[{}*.,()]", " ", plain.replace("°", " °")).lower()
    plain = re.sub(r"(?<=[a-z])-(?=\s*[a-z])|\s-\s", " ", plain)
    plain = re.sub(r"\bper\b", "/", plain).replace("mph", "mi / h").replace("kph", "km / h").replace("kmh", "km / h")
    plain = re.sub(r"\b(?:square|sq)\s+([a-z]+)", r"\1^2", plain)
    plain = re.sub(r"\b(?:cubic|cu)\s+([a-z]+)", r"\1^3", plain)
    powers: Counter[str] = Counter()
    sign = 1
    for word, power, slash in re.findall(r"([a-z°]+)\s*\^?\s*(-?\d)?|(/)", plain):
        if slash:
            sign = -1
        elif word in _GENERIC:
            return None
        else:
            powers[_KNOWN.get(word) or _KNOWN.get(word.removesuffix("s")) or word.removesuffix("s")] += sign * int(
                power or 1
            )
    return " ".join(f"{name}^{power}" for name, power in sorted(powers.items())) or None
