"""From the text of an answer to its reading.

Each rule looks for one kind of thing and returns None for any other; the first that finds something decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import sympy

from aepo_rllib.envs.grading.brackets import split, top_level
from aepo_rllib.envs.grading.chains import read_chain
from aepo_rllib.envs.grading.expressions import read_expression, real_number
from aepo_rllib.envs.grading.notation import normalize
from aepo_rllib.envs.grading.readings import (
    Based,
    Choice,
    Congruence,
    Entries,
    Pair,
    Reading,
    Region,
    Several,
    Unread,
    Value,
    Words,
)
from aepo_rllib.envs.grading.regions import ALL_REALS, from_condition, interval
from aepo_rllib.envs.grading.units import changes_meaning, split_unit
from aepo_rllib.envs.grading.words import (
    number_in_words,
    plain_words,
    scaled,
    unquoted,
    without_asides,
    without_introduction,
)

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
_MATRIX = re.compile(
    r"\s*[(\[]?\s*\\begin\s*\{([pbBv]?)(?:small)?(?:matrix|array)\}\s*(?:\{[lcr| ]*\})?(.*?)"
    r"\\end\s*\{[^{}]*\}\s*[)\]]?\s*",
    re.DOTALL,
)
_TRANSPOSED = re.compile(r"(.*[)\]}])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\text\s*\{\s*T\s*\})\s*\}?")
_KNOWN_SETS = {
    **dict.fromkeys(("∅", r"\emptyset"), sympy.S.EmptySet),
    **dict.fromkeys(("ℝ", r"\mathbbR"), ALL_REALS),
    **dict.fromkeys(("ℝ+", r"\mathbbR^+", r"\mathbbR_+", r"\mathbbR_>0"), sympy.Interval.open(0, sympy.oo)),
}
_COMPARISONS = {"except": r"\ne", "other than": r"\ne", "not equal to": r"\ne", "less than": "<", "greater than": ">"}
_EXCEPT = re.compile(rf"\\text\s*\{{\s*all real(?: number)?s\s+({'|'.join(_COMPARISONS)})\s*\}}\s*(.+)")
_MAX_DEPTH = 16


@lru_cache(maxsize=2048)
def read(text: str) -> Reading:
    """The reading of an answer."""
    return read_normal(normalize(text))


def read_normal(text: str, depth: int = 0) -> Reading:
    """The reading of normalized text."""
    text = without_introduction(unquoted(without_asides(text.strip())))
    if depth < _MAX_DEPTH:
        for rule in _RULES:
            reading = rule(text, lambda part: read_normal(part, depth + 1))
            if reading is not None:
                return reading
    return Unread(re.sub(r"\s", "", text))


Read = Callable[[str], Reading]


def _words(text: str, read: Read) -> Reading | None:
    if (choice := _CHOICE.fullmatch(text)) is not None:
        return Value(read_expression(choice[1]), choice[1])
    if (number := number_in_words(text)) is not None:
        return Value(sympy.Rational(number.numerator, number.denominator), str(number))
    bare = _MARKED.sub("", text)
    if _LETTERS.fullmatch(bare) or (re.fullmatch(r"\\text\s*\{[^{}]*\}", text) and not re.search(r"\d", text)):
        plain = plain_words(text)
        known = _KNOWN_SETS.get(plain)
        if known is not None:
            return Region(known)
        return Value(read_expression(bare), bare) if len(bare) == 1 and bare.isalpha() else Words(plain)
    return None


def _chosen(text: str, read: Read) -> Reading | None:
    match = _CHOSEN.fullmatch(text)
    return None if match is None else Choice(match[1], read(match[2].rstrip("}") if "{" not in match[2] else match[2]))


def _scaled(text: str, read: Read) -> Reading | None:
    found = scaled(text)
    inner = read(found[0]) if found else None
    if not isinstance(inner, Value) or found is None or inner.expression.free_symbols:
        return None
    unit = split_unit(rf"1 \text{{ {found[2]}}}") if found[2] else None
    return Value(inner.expression * sympy.Integer(10) ** found[1], text, unit.unit if unit else None)


def _based(text: str, read: Read) -> Reading | None:
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


def _pair(text: str, read: Read) -> Reading | None:
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


def _congruence(text: str, read: Read) -> Reading | None:
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


def _list(text: str, read: Read) -> Reading | None:
    text = re.sub(r",\s*(?=\\l(?:and|or)(?![A-Za-z]))", " ", text)
    parts = split(text, ",", ";", r"\land", r"\lor")
    if len(parts) == 1:
        return None
    if "" in parts:
        return Unread(text)
    readings = [read(part) for part in parts]
    either, both = r"\lor" in text, r"\land" in text
    regions = [reading for reading in readings if isinstance(reading, Region)]
    if len(regions) == len(readings) and regions[0].variable and len({region.variable for region in regions}) == 1:
        return _combined(regions, either=either, both=both)
    if (either or both) and all(isinstance(reading, Entries) for reading in readings):
        sets = [as_set(reading) for reading in readings]
        if None not in sets and any(part.inf == -sympy.oo or part.sup == sympy.oo for part in sets if part is not None):
            return Region(sympy.Union(*sets))
    return Several(tuple(_flat(readings)), in_words=either or both)


def _combined(regions: Sequence[Region], *, either: bool, both: bool) -> Reading:
    """Several conditions on one variable: a comma means "and" unless nothing would be left."""
    sets = [region.set for region in regions]
    intersection = sympy.Intersection(*sets)
    joined = sympy.Union(*sets) if either or (not both and intersection is sympy.S.EmptySet) else intersection
    return Region(joined, regions[0].variable)


def _flat(readings: Sequence[Reading]) -> list[Reading]:
    r"""Lists inside lists, as in `0, \pm 2`."""
    found: list[Reading] = []
    for reading in readings:
        found += reading.items if isinstance(reading, Several) and not reading.is_set else [reading]
    return found


def _relation(text: str, read: Read) -> Reading | None:
    return read_chain(text, read)


def _union(text: str, read: Read) -> Reading | None:
    signs = {token for _, token in top_level(text)} & {r"\cup", r"\cap", r"\setminus"}
    if len(signs) != 1:
        return None
    sets = [as_set(read(part)) for part in split(text, *signs)]
    if any(part is None for part in sets):
        return None
    first, *others = sets
    if signs == {r"\cup"}:
        return Region(sympy.Union(*sets))
    return Region(sympy.Intersection(*sets) if signs == {r"\cap"} else sympy.Complement(first, sympy.Union(*others)))


def as_set(reading: Reading) -> sympy.Set | None:
    """A reading as a set of real numbers; None where it is none."""
    if isinstance(reading, Region):
        return reading.set
    if isinstance(reading, Entries) and len(reading.items) == 2 and reading.brackets != "<>":
        ends = [item.expression for item in reading.items if isinstance(item, Value)]
        return interval(ends[0], ends[1], reading.brackets) if len(ends) == 2 else None
    if isinstance(reading, Several) and reading.is_set:
        points = [item.expression for item in reading.items if isinstance(item, Value)]
        if len(points) == len(reading.items) and all(real_number(point) is not None for point in points):
            return sympy.FiniteSet(*points)
    return None


def _plus_minus(text: str, read: Read) -> Reading | None:
    if r"\pm" not in text and r"\mp" not in text:
        return None
    sides = []
    for upper, lower in ("+-", "-+"):
        side = re.sub(r"\\pm(?![A-Za-z])", upper, re.sub(r"\\mp(?![A-Za-z])", lower, text))
        sides.append(read(re.sub(r"(^|[({=])\s*\+", r"\1", side)))
    return Several(tuple(_flat(sides)))


def _known_set(text: str, read: Read) -> Reading | None:
    if (match := _EXCEPT.fullmatch(text)) is not None:
        bounds = [
            from_condition(_COMPARISONS[match[1]], read_expression(part)) for part in split(match[2], ",", r"\land")
        ]
        return None if None in bounds else Region(sympy.Intersection(*bounds))
    known = _KNOWN_SETS.get(re.sub(r"\s|\\text|[{}]", "", text))
    return None if known is None else Region(known)


def _bracketed(text: str, read: Read) -> Reading | None:
    inner = _inside(text)
    if inner is None:
        return None
    brackets, content = inner
    if brackets == r"\{\}":
        return _set(content, read)
    parts = split(content, ",", ";")
    if len(parts) == 1 or "" in parts:
        whole = brackets in ("()", "[]") and len(parts) == 1
        return read(content) if whole and content else None
    return Entries(tuple(map(read, parts)), brackets)


def _inside(text: str) -> tuple[str, str] | None:
    """(brackets, content) of a text that stands in one pair of brackets."""
    for opening, closings in (("(", ")]"), ("[", ")]"), (r"\{", (r"\}",)), (r"\langle", (r"\rangle",))):
        for closing in closings:
            if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
                content = text[len(opening) : -len(closing)]
                if list(top_level(f"({content})")) == [] and _balanced(content):
                    return ("<>" if "langle" in opening else opening + closing), content.strip()
    return None


def _balanced(text: str) -> bool:
    """Whether no bracket closes in `text` that has not been opened there."""
    depth = 0
    for match in re.finditer(r"\\[{}]|\\[a-z]+|[()\[\]{}]", text):
        token = match.group()
        depth += token in ("(", "[", "{", r"\{", r"\langle")
        depth -= token in (")", "]", "}", r"\}", r"\rangle")
        if depth < 0:
            return False
    return depth == 0


def _set(content: str, read: Read) -> Reading | None:
    builder = re.split(r"\\mid|\||:", content, maxsplit=1)
    if len(builder) == 2:
        condition = read(builder[1])
        return Region(condition.set) if isinstance(condition, Region) else None
    parts = split(content, ",", ";")
    return None if "" in parts else Several(tuple(_flat([read(part) for part in parts])), is_set=True)


def _matrix(text: str, read: Read) -> Reading | None:
    match = _MATRIX.fullmatch(text)
    if match is None or match[1] == "v":
        return None
    rows = [[cell.strip() for cell in row.split("&")] for row in re.split(r"\\\\|\\cr", match[2]) if row.strip()]
    if not rows or len({len(row) for row in rows}) != 1:
        return None
    if len(rows[0]) == 1 or len(rows) == 1:
        return Entries(tuple(read(cell) for row in rows for cell in row), "<>" if len(rows[0]) == 1 else "<=")
    return Entries(tuple(Entries(tuple(map(read, row)), "<=") for row in rows), "<>")


def _transposed(text: str, read: Read) -> Reading | None:
    match = _TRANSPOSED.fullmatch(text)
    inner = read(match[1]) if match else None
    return Entries(inner.items, "<>") if isinstance(inner, Entries) else None


def _measured(text: str, read: Read) -> Reading | None:
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


def _expression(text: str, read: Read) -> Reading | None:
    said = "".join(re.findall(r"\\text\s*\{([^{}]*)\}", text))
    if len(said.strip()) > 1 and (
        changes_meaning(said) or " " in said.strip() or not re.search(r"\d|\\(?!text)", text)
    ):
        return None  # what is said in words is none of the factors
    expression = read_expression(text)
    return None if expression is None else Value(expression, text)


_RULES: tuple[Callable[[str, Read], Reading | None], ...] = (
    _words,
    _chosen,
    _scaled,
    _based,
    _pair,
    _congruence,
    _matrix,
    _list,
    _relation,
    _union,
    _known_set,
    _transposed,
    _bracketed,
    _plus_minus,
    _measured,
    _expression,
)
