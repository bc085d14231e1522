"""Rules that read several things in one: lists, points, intervals and their unions, sets, matrices.

Each takes a normalized text, and a function that reads a part of it, and returns None where it finds something else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import sympy

from aepo_rllib.envs.grading.brackets import balanced, split, top_level
from aepo_rllib.envs.grading.expressions import read_expression, real_number
from aepo_rllib.envs.grading.readings import Entries, Read, Reading, Region, Several, Unread, Value
from aepo_rllib.envs.grading.regions import KNOWN_SETS, from_condition, interval

_MATRIX = re.compile(
    r"\s*[(\[]?\s*\\begin\s*\{([pbBv]?)(?:small)?(?:matrix|array)\}\s*(?:\{[lcr| ]*\})?(.*?)"
    r"\\end\s*\{[^{}]*\}\s*[)\]]?\s*",
    re.DOTALL,
)
_TRANSPOSED = re.compile(r"(.*[)\]}])\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\text\s*\{\s*T\s*\})\s*\}?")
_COMPARISONS = {"except": r"\ne", "other than": r"\ne", "not equal to": r"\ne", "less than": "<", "greater than": ">"}
_EXCEPT = re.compile(rf"\\text\s*\{{\s*all real(?: number)?s\s+({'|'.join(_COMPARISONS)})\s*\}}\s*(.+)")


def listed(text: str, read: Read) -> Reading | None:
    """What commas, semicolons, "and" or "or" part."""
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


def union(text: str, read: Read) -> Reading | None:
    r"""Sets joined by `\cup`, `\cap` or `\setminus`."""
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


def plus_minus(text: str, read: Read) -> Reading | None:
    r"""Both values of an expression with `\pm`."""
    if r"\pm" not in text and r"\mp" not in text:
        return None
    sides = []
    for upper, lower in ("+-", "-+"):
        side = re.sub(r"\\pm(?![A-Za-z])", upper, re.sub(r"\\mp(?![A-Za-z])", lower, text))
        sides.append(read(re.sub(r"(^|[({=])\s*\+", r"\1", side)))
    return Several(tuple(_flat(sides)))


def known_set(text: str, read: Read) -> Reading | None:
    """A set that has a name, and all real numbers but some."""
    if (match := _EXCEPT.fullmatch(text)) is not None:
        bounds = [
            from_condition(_COMPARISONS[match[1]], read_expression(part)) for part in split(match[2], ",", r"\land")
        ]
        return None if None in bounds else Region(sympy.Intersection(*bounds))
    known = KNOWN_SETS.get(re.sub(r"\s|\\text|[{}]", "", text))
    return None if known is None else Region(known)


def bracketed(text: str, read: Read) -> Reading | None:
    """What stands in one pair of brackets."""
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
                if balanced(content):
                    return ("<>" if "langle" in opening else opening + closing), content.strip()
    return None


def _set(content: str, read: Read) -> Reading | None:
    builder = re.split(r"\\mid|\||:", content, maxsplit=1)
    if len(builder) == 2:
        condition = read(builder[1])
        return Region(condition.set) if isinstance(condition, Region) else None
    parts = split(content, ",", ";")
    return None if "" in parts else Several(tuple(_flat([read(part) for part in parts])), is_set=True)


def matrix(text: str, read: Read) -> Reading | None:
    """A matrix; of one column or row, a point."""
    match = _MATRIX.fullmatch(text)
    if match is None or match[1] == "v":
        return None
    rows = [[cell.strip() for cell in row.split("&")] for row in re.split(r"\\\\|\\cr", match[2]) if row.strip()]
    if not rows or len({len(row) for row in rows}) != 1:
        return None
    if len(rows[0]) == 1 or len(rows) == 1:
        return Entries(tuple(read(cell) for row in rows for cell in row), "<>" if len(rows[0]) == 1 else "<=")
    return Entries(tuple(Entries(tuple(map(read, row)), "<=") for row in rows), "<>")


def transposed(text: str, read: Read) -> Reading | None:
    """A row that is written to be a column."""
    match = _TRANSPOSED.fullmatch(text)
    inner = read(match[1]) if match else None
    return Entries(inner.items, "<>") if isinstance(inner, Entries) else None
