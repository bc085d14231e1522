"""Files as anybody may have written them: regular ones only, read line by line within limits, packed or not."""

from __future__ import annotations

import codecs
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

from aepo_rllib.envs.problems.problem import ProblemError

DATA_DIR_VARIABLE = "AEPO_DATA_DIR"
ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
"""Of the files that are read. Where a name has several in `AEPO_DATA_DIR`, the first of these is taken."""
PACKED = ".gz"
MAX_LINE_BYTES = 10_000_000
MAX_LINES = 20_000_000
MAX_DOCUMENT_BYTES = 200_000_000
"""Of a file that has to be in memory as a whole."""
MAX_UNPACKED_BYTES = 16_000_000_000
"""A packed file may unpack to this; a thousandth of it is enough to write one."""
_SAVED_BY_DATASETS = ("dataset_dict.json", "state.json")


def ending_of(name: str) -> str:
    """The ending of a file's name that says how it is read, packed or not; empty for any other."""
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def find_file(source: str) -> Path | None:
    """The file, or the folder written by `datasets.save_to_disk`, that a source names; None if there is none.

    A name without folders is looked for in `AEPO_DATA_DIR`, its `train/` and `eval/`, too.

    Raises:
        ProblemError: something else is there, or cannot be looked at, or `AEPO_DATA_DIR` names no folder.
    """
    if found := regular_file(Path(source)) if ending_of(source) else saved_folder(Path(source)):
        return found
    folder = os.environ.get(DATA_DIR_VARIABLE)
    if not folder or source != Path(source).name:
        return None
    if not os.path.isdir(folder):
        raise ProblemError(f"{DATA_DIR_VARIABLE} names {folder}, which is no folder")
    names = [source] if ending_of(source) else [source + ending for ending in ENDINGS]
    for place in (Path(folder, part) for part in ("", "train", "eval")):
        if found := next(filter(None, (regular_file(place / name) for name in names)), saved_folder(place / source)):
            return found
    return None


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
        raise ProblemError(f"{str(path)!r:.200} cannot be read ({reason_of(error)})") from error
    if not stat.S_ISREG(mode):
        raise ProblemError(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file")
    return path


def saved_folder(path: Path) -> Path | None:
    """The path if `datasets.save_to_disk` has written a folder there, None otherwise."""
    return path if any(os.path.isfile(os.path.join(path, name)) for name in _SAVED_BY_DATASETS) else None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of every line, its end included; a byte order mark before the first is left out.

    Raises:
        ProblemError: a line that is no UTF-8 or too long, too many of them, or a file that cannot be read.
    """
    size = 0
    try:
        with _opened(path) as file:
            for number in count(1):
                line = file.readline(MAX_LINE_BYTES + 1)
                if not line:
                    return
                size += len(line)
                if len(line) > MAX_LINE_BYTES:
                    raise ProblemError(f"{path}:{number}: longer than {MAX_LINE_BYTES} bytes")
                if number > MAX_LINES or (path.suffix == PACKED and size > MAX_UNPACKED_BYTES):
                    raise ProblemError(f"{path}:{number}: more than {MAX_LINES} lines or {MAX_UNPACKED_BYTES} bytes")
                yield number, _text(line, f"{path}:{number}", "the line", first=number == 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ProblemError(f"{path} cannot be read ({reason_of(error)})") from error


def read_whole(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        ProblemError: it is no UTF-8, too large, or cannot be read.
    """
    try:
        with _opened(path) as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ProblemError(f"{path} cannot be read ({reason_of(error)})") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise ProblemError(f"{path}: larger than {MAX_DOCUMENT_BYTES} bytes; write it as JSON Lines (.jsonl)")
    return _text(content, str(path), "the file", first=True)


def reason_of(error: Exception) -> str:
    """What an error says, in one line without the path that a message names anyway."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == PACKED else path.open("rb")  # type: ignore[return-value]


def _text(content: bytes, place: str, whole: str, *, first: bool) -> str:
    # Decoded line by line: a reader of text would name the line where its buffer began.
    content = content.removeprefix(codecs.BOM_UTF8) if first else content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProblemError(f"{place}: not UTF-8 ({error.reason} at byte {error.start + 1} of {whole})") from error
