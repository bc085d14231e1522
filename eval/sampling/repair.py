"""Cutting damage out of a file of samples. Every wave that proves to be whole is kept, wherever it lies."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from aepo_rllib.eval.sampling.lines import (
    FIRST_FORMAT,
    FORMAT,
    MAX_LINE_BYTES,
    ConvertedError,
    Head,
    Place,
    Seal,
    StoreError,
    Wave,
    head_of,
    read_wave,
)
from aepo_rllib.eval.sampling.sample_files import SampleFile, store_file

_CLOSING = re.compile(rb'\{"wave": (\d{1,9})(?:, "number": (\d{1,7}), .*)?\}\n')
_BEGINNING = re.compile(rb'(?=\{"(?:prompt|wave)")')  # not in a text, where quotes are escaped
_BLOCK_BYTES = 1 << 20


class _Stretch(NamedTuple):
    """A part of a file: the number of its first line, and where it begins and ends in bytes."""

    line: int
    start: int
    end: int


def repair(folder: Path, law: Mapping[str, Any]) -> str | None:
    """Cut out of a law's file what is damaged, if anything is.

    In the place of a wave that is lost stands an empty one, so that all others stay as they are, bit for bit. What is
    cut out is kept beside the file, and is on the disk before the file is replaced.

    Args:
        folder: The store; its owner has claimed it.
        law: Of the samples.

    Returns:
        What was cut, for people to read; None where nothing had to be.

    Raises:
        StoreError: the file as a whole was turned into something else, which is to be undone.
        OSError: a file cannot be read or written.
    """
    path = store_file(folder, law)
    if not _is_damaged(folder, law):
        return None
    head, first_head = head_of(law, FORMAT), head_of(law, FIRST_FORMAT)
    kept = _without_repeats(_whole_waves(path, head))
    if not kept and (kept := _without_repeats(_whole_waves(path, first_head))):
        head = first_head
    removed = path.with_name(f".damaged_{path.name}_{time.time_ns()}")
    with path.open("rb") as source:
        cut = list(_between(source, head, kept))
        if cut:
            _write(removed, (block for part in cut for block in _blocks(source, part.start, part.end)))
        _write(unfinished := path.with_name(f".{path.name}.{os.getpid()}.tmp"), _rebuilt(source, head, kept))
        lines = ", ".join(f"{part.line}-{part.line + _lines(source, part) - 1}" for part in cut)
    os.replace(unfinished, path)
    done = f"lines {lines} were cut out and lie in {removed.name}" if cut else "waves are lost, or were out of order"
    return f"{path}: {done}; {sum(len(wave.samples) for wave in kept)} samples are whole and stay"


def _is_damaged(folder: Path, law: Mapping[str, Any]) -> bool:
    try:
        SampleFile(folder, law, read_only=True)
    except ConvertedError:
        raise
    except StoreError:
        return True
    return False


def _whole_waves(path: Path, head: Head) -> Iterator[Wave]:
    """Every wave whose lines and last line belong together, as they lie in the file."""
    begun: list[tuple[int, int]] = []  # offset and number of the lines since the last whole wave
    found = 0
    with path.open("rb") as file, path.open("rb") as again:
        for offset, number, line in _pieces(file):
            begun.append((offset, number))
            closing = _CLOSING.fullmatch(line)
            if closing is None or int(closing[1]) >= len(begun):
                continue
            start, first_line = begun[-1 - int(closing[1])]
            again.seek(start)
            try:
                wave = read_wave(again, path, head, int(closing[2] or found + 1), first_line)
            except StoreError:
                continue
            if wave is not None:
                yield wave
                found += 1
                begun.clear()


def _pieces(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Offset, number and content of every line; what a damaged line end has joined is taken apart."""
    offset = 0
    for number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES), b""), start=1):
        for piece in filter(None, _BEGINNING.split(line)):
            yield offset, number, piece
            offset += len(piece)


def _without_repeats(waves: Iterable[Wave]) -> list[Wave]:
    """The first of every number, without those that hold samples of others."""
    kept: dict[int, Wave] = {}
    seen: set[Place] = set()
    for wave in waves:
        if wave.number not in kept and seen.isdisjoint(wave.samples):
            kept[wave.number] = wave
            seen.update(wave.samples)
    return list(kept.values())


def _between(source: BinaryIO, head: Head, kept: Sequence[Wave]) -> Iterator[_Stretch]:
    """What is neither head nor wave."""
    source.seek(0)
    line, start = (2, len(head.line)) if source.read(len(head.line)) == head.line else (1, 0)
    for wave in kept:
        if start < wave.start:
            yield _Stretch(line, start, wave.start)
        line, start = wave.last_line + 1, wave.end
    if start < (end := source.seek(0, os.SEEK_END)):
        yield _Stretch(line, start, end)


def _rebuilt(source: BinaryIO, head: Head, kept: Sequence[Wave]) -> Iterator[bytes]:
    """The file without damage."""
    yield head.line
    waves = {wave.number: wave for wave in kept}
    for number in range(1, max(waves, default=0) + 1):
        if number in waves:
            yield from _blocks(source, waves[number].start, waves[number].end)
        else:
            yield Seal(head, number).line()


def _blocks(source: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    source.seek(start)
    while block := source.read(min(_BLOCK_BYTES, end - source.tell())):
        yield block


def _lines(source: BinaryIO, part: _Stretch) -> int:
    """How many lines a stretch has, a last one without an end included."""
    last, lines = b"", 0
    for last in _blocks(source, part.start, part.end):
        lines += last.count(b"\n")
    return lines + (not last.endswith(b"\n"))


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a file and bring it to the disk."""
    try:
        with path.open("xb") as file:
            file.writelines(blocks)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
