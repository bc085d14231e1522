"""The lines of a file of samples: a head, then waves of samples, each closed by a line that proves it to be whole.

The head holds the law of all samples in the file. A wave is what was drawn together, a sample a line, and then

    {"wave": 64, "number": 3, "sha256": "5f0c..."}

which says how many they are, which wave of the file they are, and the digest of head, number and lines. So a changed
bit anywhere is seen, and so is a wave that is lost, repeated, or in another's place. In files of the first format that
line is `{"wave": 64}`, which proves nothing. The head tells the format, and is compared byte for byte: no flipped bit
turns one format into the other.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from aepo_rllib.envs.completion import SampledText
from aepo_rllib.eval.sampling.lazy_texts import StoredSample

FORMAT, FIRST_FORMAT = 2, 1
MAX_LINE_BYTES = 1 << 28
"""No completion is that long: whatever is has lost the ends of its lines, and would fill the memory."""
WAVE_MARK = b'{"wave"'
CURE = "`aepo eval ... --repair` cuts out what is damaged, keeps the rest, and draws the missing samples again"


class StoreError(ValueError):
    """A file of samples cannot be used; the message names the file, the lines, the reason and the cure."""


class ConvertedError(StoreError):
    """The same of a file that was changed as a whole; there is a way to undo it, and nothing in it to cut out."""


class Place(NamedTuple):
    """Which sample: of which prompt, and its number."""

    prompt: str
    sample: int


class Head(NamedTuple):
    """The first line of a file, and the format that it stands for."""

    line: bytes
    format: int


@dataclass(frozen=True)
class Wave:
    """Where a whole wave lies.

    Attributes:
        number: Which wave of its file it is, from 1.
        first_line: Its first line in the file, from 1.
        last_line: The line that closes it.
        start: Where it begins in bytes.
        end: Where the next one begins.
        samples: What is in it.
    """

    number: int
    first_line: int
    last_line: int
    start: int
    end: int
    samples: Mapping[Place, StoredSample]


class Seal:
    """What the line that closes a wave has to be.

    Args:
        head: Of the file.
        number: Of the wave, from 1.
    """

    def __init__(self, head: Head, number: int) -> None:
        self._number, self._samples = number, 0
        self._digest = hashlib.sha256(head.line + b"%d\n" % number) if head.format == FORMAT else None

    def add(self, line: bytes) -> None:
        """The next sample of the wave."""
        self._samples += 1
        if self._digest:
            self._digest.update(line)

    def line(self) -> bytes:
        """The closing line."""
        proof = {"number": self._number, "sha256": self._digest.hexdigest()} if self._digest else {}
        return (json.dumps({"wave": self._samples} | proof) + "\n").encode("ascii")


def head_of(law: Mapping[str, Any], format: int = FORMAT) -> Head:
    """The first line of a file that holds samples of this law."""
    content = {"law": law} if format == FIRST_FORMAT else {"format": format, "law": law}
    return Head((json.dumps(content, sort_keys=True) + "\n").encode("ascii"), format)


def sample_line(place: Place, text: SampledText) -> bytes:
    """The line of a sample."""
    record = {"prompt": place.prompt, "sample": place.sample, "tokens": text.tokens, "truncated": text.truncated}
    return (json.dumps(record | {"text": str(text)}) + "\n").encode("ascii")


def read_head(file: BinaryIO, path: Path, law: Mapping[str, Any]) -> Head | None:
    """The head of a file, which is left at its first wave; None where a kill has torn it.

    Raises:
        StoreError: it is not the head of this law.
    """
    line = file.readline(MAX_LINE_BYTES)
    for head in (head_of(law), head_of(law, FIRST_FORMAT)):
        if line == head.line:
            return head
        # A power cut may leave zeros where the rest was to be written.
        if not line.endswith(b"\n") and head.line.startswith(line.rstrip(b"\0")):
            return None
        if line == head.line[:-1] + b"\r\n":
            undo = f"sed -i 's/\\r$//' {shlex.quote(str(path))}"
            raise ConvertedError(f"{path}: its line ends were turned into CRLF; `{undo}` turns them back")
    raise StoreError(f"{path}:1: it does not begin with the law of its samples, it may be another law's; {CURE}")


def read_wave(file: BinaryIO, path: Path, head: Head, number: int, first_line: int) -> Wave | None:
    """The next wave; None at the end of the file, and where a kill has torn what comes next.

    Args:
        file: Opened, and read up to where the wave begins.
        path: Its path.
        head: Its head.
        number: Of the wave, from 1.
        first_line: The line that comes next, from 1.

    Raises:
        StoreError: the wave is damaged.
    """
    seal, samples = Seal(head, number), dict[Place, StoredSample]()
    start = end = file.tell()
    for line_number, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES), b""), start=first_line):
        if not line.endswith(b"\n"):
            if _is_torn(line, seal):
                return None
            raise StoreError(f"{path}:{line_number}: no kill leaves such an end, the file is damaged; {CURE}")
        if line.startswith(WAVE_MARK):
            if line != seal.line():
                reason = f"its samples ({len(samples)}) and its last line, {line[:40]!r}, do not belong together"
                raise StoreError(f"{path}:{first_line}-{line_number}: wave {number} is damaged: {reason}; {CURE}")
            return Wave(number, first_line, line_number, start, end + len(line), samples)
        try:
            place, tokens, truncated = _read_sample(line)
            if place in samples:
                raise ValueError("its wave has it already")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"no sample ({type(error).__name__}: {error})"
            raise StoreError(f"{path}:{line_number}: {reason}, the file is damaged; {CURE}") from error
        samples[place] = StoredSample(path, end, truncated=truncated, tokens=tokens)
        seal.add(line)
        end += len(line)
    return None


def _is_torn(line: bytes, seal: Seal) -> bool:
    """Whether the last line of a file can be the beginning of one: a kill leaves one behind, a flipped line end not."""
    return len(line) < MAX_LINE_BYTES and (not line.startswith(WAVE_MARK) or seal.line().startswith(line))


def _read_sample(line: bytes) -> tuple[Place, int, bool]:
    """Place, tokens, and whether it was truncated."""
    record = json.loads(line)
    place, tokens, truncated = Place(record["prompt"], record["sample"]), record["tokens"], record["truncated"]
    if type(place.prompt) is not str or type(record["text"]) is not str or type(truncated) is not bool:
        raise TypeError("a field of another type")
    for count in (place.sample, tokens):
        if type(count) is not int or not 0 <= count < 1 << 31:
            raise TypeError("a number that is none")
    return place, tokens, truncated
