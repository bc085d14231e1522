"""JSON Lines as they are written: every value as it stands, anything doubtful refused by file and line."""

from __future__ import annotations

import codecs
import json
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.problem import ProblemError

MAX_LINE_BYTES = 10_000_000


def regular_file(path: Path) -> Path | None:
    """The path if there is a file, None if there is nothing.

    Raises:
        ProblemError: there is something else (reading a pipe or a device might never end), or no telling.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ProblemError(f"{str(path)!r:.200} cannot be read ({_reason(error)})") from error
    if not stat.S_ISREG(mode):
        raise ProblemError(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file")
    return path


def read_jsonl(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of every non-empty line; the place is `file:line`, numbers with a dot are exact decimals.

    Raises:
        ProblemError: a line is no JSON object, or the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number in count(1):
                line = file.readline(MAX_LINE_BYTES + 1)
                if not line:
                    return
                if line.strip():
                    yield f"{path}:{number}", _row(line, f"{path}:{number}")
    except OSError as error:
        raise ProblemError(f"{path} cannot be read ({_reason(error)})") from error


def _row(line: bytes, place: str) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise ProblemError(f"{place}: longer than {MAX_LINE_BYTES} bytes")
    if line.startswith(codecs.BOM_UTF8):
        raise ProblemError(f"{place}: begins with a byte order mark; save the file as UTF-8 without one")
    try:
        # Decoded line by line: a reader of text would name the line where its buffer began.
        row = json.loads(line.decode("utf-8"), **_HOOKS)
    except UnicodeDecodeError as error:
        raise ProblemError(f"{place}: not UTF-8 ({error.reason} at byte {error.start + 1} of the line)") from error
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at")
        raise ProblemError(f"{place}: not JSON ({reason} at column {error.colno})") from error
    except RecursionError as error:
        raise ProblemError(f"{place}: not JSON that can be read (nested too deeply)") from error
    except ValueError as error:
        raise ProblemError(f"{place}: not JSON that can be read ({error})") from error
    if not isinstance(row, dict):
        raise ProblemError(f"{place}: not a JSON object but {type(row).__name__}")
    return row


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


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
