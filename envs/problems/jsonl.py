"""JSON Lines and JSON as they are written: every value as it stands, anything doubtful refused by file and line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from json.decoder import JSONDecoder
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.bounded_files import read_lines, read_whole
from aepo_rllib.envs.problems.problem import ProblemError

ROW_LISTS = ("data", "rows", "examples", "problems", "questions")
"""Keys under which a JSON file may keep its list of rows."""
_BLANKS = re.compile(r"[ \t\n\r]*")


def read_jsonl(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of every non-empty line; the place is `file:line`, numbers with a dot are exact decimals.

    Raises:
        ProblemError: a line is no JSON object, or the file cannot be read.
    """
    for number, ended in read_lines(path):
        line = ended.rstrip("\r\n")
        if not line.strip():
            continue
        row, end = _value(line, _blanks(line, 0), path, number)
        if (rest := _blanks(line, end)) < len(line):
            raise ProblemError(f"{path}:{number}: not JSON (Extra data at column {rest + 1})")
        yield f"{path}:{number}", _object_row(row, f"{path}:{number}")


def read_json(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of a list of objects, or of an object that has such a list under one of `ROW_LISTS`.

    JSON Lines that are called `.json` are read as such, an object of any other kind as the only row.

    Raises:
        ProblemError: it is anything else, or the file cannot be read; names the line where the row begins.
    """
    text = read_whole(path)
    start = _blanks(text, 0)
    if text.startswith("[", start):
        yield from _list_rows(text, start, path)
    elif start < len(text):
        content, end = _value(text, start, path, 1 + text.count("\n", 0, start))
        if _blanks(text, end) < len(text):
            yield from read_jsonl(path)
            return
        content = _object_row(content, str(path))
        key = next((key for key in ROW_LISTS if isinstance(content.get(key), list)), None)
        rows = [content] if key is None else content[key]
        for number, row in enumerate(rows):
            place = str(path) if key is None else f"{path}: {key}[{number}]"
            yield place, _object_row(row, place)


def decode(text: str) -> Any:
    """The value of a JSON text, numbers with a dot as exact decimals.

    Raises:
        ValueError: it is none, or holds what is no strict JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, **_HOOKS)


def _list_rows(text: str, start: int, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of the list that begins at `start`, read one by one."""
    line, counted = 1, 0
    position, more = _blanks(text, start + 1), False
    while more or not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        row, end = _value(text, position, path, line)
        yield f"{path}:{line}", _object_row(row, f"{path}:{line}")
        position = _blanks(text, end)
        more = text.startswith(",", position)
        if more:
            position = _blanks(text, position + 1)
        elif not text.startswith("]", position):
            line += text.count("\n", counted, position)
            raise ProblemError(f"{path}:{line}: not JSON (a comma or the end of the list is missing)")
    if _blanks(text, position + 1) < len(text):
        raise ProblemError(f"{path}:{1 + text.count(chr(10), 0, position)}: not JSON (more text after the list)")


def _value(text: str, position: int, path: Path, line: int) -> tuple[Any, int]:
    """The value that begins at `position`, which is in `line` of the file, and where it ends."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        place = f"{path}:{line + text.count(chr(10), position, error.pos)}"
        raise ProblemError(f"{place}: not JSON ({error.msg.removesuffix(' at')} at column {error.colno})") from error
    except RecursionError as error:
        raise ProblemError(f"{path}:{line}: not JSON that can be read (nested too deeply)") from error
    except ValueError as error:
        raise ProblemError(f"{path}:{line}: not JSON that can be read ({error})") from error


def _object_row(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ProblemError(f"{place}: not a JSON object but {type(row).__name__}")
    return row


def _blanks(text: str, position: int) -> int:
    """Where the blanks that begin at `position` end."""
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different; Python's own reader keeps the last of two."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r:.80} comes twice")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON; write null, or a text")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:  # Python reads no number of thousands of digits
        raise ValueError(f"a number of {len(text)} digits") from error


def _decimal(text: str) -> Decimal:
    """A number exactly as it is written: a float would change the last digits of a known answer."""
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"the number {text:.80} is out of range") from error


_HOOKS: dict[str, Any] = {
    "object_pairs_hook": _object,
    "parse_constant": _no_constant,
    "parse_int": _integer,
    "parse_float": _decimal,
}
_DECODER = JSONDecoder(**_HOOKS)
