"""Files of JSON lines that grow while a run goes on. What they hold is never dropped without a word.

Only the last line can be half a line: a full disk or a power cut leaves one, perhaps inside a character of two bytes.
It is cut off. Any other line that is no record is damage, and nothing is done to a damaged file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A record and where its line ends, in bytes."""

    record: dict[str, Any]
    end: int


def append_record(file: Path, record: Mapping[str, Any]) -> None:
    """Add one record.

    Raises:
        OSError: it cannot be written.
    """
    with file.open("a", encoding="utf-8", errors="backslashreplace") as handle:
        handle.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_records(file: Path) -> list[dict[str, Any]]:
    """The records of a file, oldest first; none where there is no file. A torn last line is left out.

    Raises:
        ValueError: a line before the last is no record; names file and line.
        OSError: the file cannot be read.
    """
    return [line.record for line in _lines(file)]


def cut_records(file: Path, last_step: int) -> bool:
    """Drop the records after a step, and a torn last line.

    Returns:
        Whether there was a torn line.

    Raises:
        ValueError: as `read_records`; the file is left as it is.
        OSError: the file cannot be written.
    """
    if not _exists(file):
        return False
    lines = list(_lines(file))
    size, whole = file.stat().st_size, max((line.end for line in lines), default=0)
    kept = max((line.end for line in lines if line.record["step"] <= last_step), default=0)
    if kept < size:
        os.truncate(file, kept)
    return whole < size


def _exists(file: Path) -> bool:
    """Whether there is a file; something else in its place is no absence.

    Raises:
        ValueError: it is a folder, a pipe, or a link to nothing.
    """
    if os.path.lexists(file) and not file.is_file():
        raise ValueError(f"{file} is no file")
    return file.is_file()


def _lines(file: Path) -> Iterator[Line]:
    if not _exists(file):
        return
    step = end = 0
    with file.open("rb") as handle:
        lines = list(handle)
    for number, line in enumerate(lines, start=1):
        end += len(line)
        try:
            record = _record(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise ValueError(
                f"{file}:{number}: no record of a training step ({error}); the file is damaged and was left as it is: "
                "repair or remove this line, or go on from a copy of the folder"
            ) from error
        if record["step"] < step:
            raise ValueError(f"{file}:{number}: step {record['step']} after step {step}; the file was left as it is")
        step = record["step"]
        yield Line(record, end)


def _record(line: bytes) -> dict[str, Any]:
    """One line, whole.

    Raises:
        ValueError: it is none.
    """
    if not line.endswith(b"\n"):
        raise ValueError("it has no end")
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(record, dict) or type(record.get("step")) is not int or record["step"] < 1:
        raise ValueError("it has no step")
    return record
