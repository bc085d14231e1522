r"""Brackets of LaTeX text: where a group ends, and what stands at the top level. `\{` is a bracket of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
OPENING = frozenset(("{", "(", "[", r"\{", r"\langle"))
CLOSING = frozenset(("}", ")", "]", r"\}", r"\rangle"))


def closing_brace(text: str, start: int) -> int | None:
    r"""The position of the brace that closes the group whose content begins at `start`; `\{` is no brace."""
    depth = 1
    for match in _ESCAPE_OR_BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return None


def argument(text: str, start: int) -> tuple[str, int] | None:
    """The argument of a command that ends at `start`, a group in braces or one token, and where it ends.

    Returns:
        (content without braces, end), or None where there is none.
    """
    while start < len(text) and text[start].isspace():
        start += 1
    if start == len(text):
        return None
    if text[start] == "{":
        end = closing_brace(text, start + 1)
        return None if end is None else (text[start + 1 : end], end + 1)
    match = _TOKEN.match(text, start)
    assert match is not None
    return match.group(), match.end()


def parenthesis(text: str, start: int) -> int | None:
    """The position of the parenthesis that closes the one opened just before `start`."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return None


def top_level(text: str) -> Iterator[tuple[int, str]]:
    """(position, token) of what stands outside of all brackets; an unmatched bracket hides what follows it."""
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in OPENING:
            depth += 1
        elif token in CLOSING:
            depth -= 1
        elif depth == 0:
            yield match.start(), token


def balanced(text: str) -> bool:
    """Whether every bracket of `text` closes in it, and none that was not opened there; kinds may be mixed."""
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += (match.group() in OPENING) - (match.group() in CLOSING)
        if depth < 0:
            return False
    return depth == 0


def split(text: str, *separators: str) -> list[str]:
    """The parts of `text` between separators (single tokens) at the top level, without surrounding blanks."""
    parts, start = [], 0
    for position, token in top_level(text):
        if token in separators:
            parts.append(text[start:position].strip())
            start = position + len(token)
    return [*parts, text[start:].strip()]
