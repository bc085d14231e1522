"""Samples on disk: append-only files that survive a kill, are resumed, extended, and graded again.

A store is a folder. Each file in it holds the samples of one *law*: everything that a sample's distribution depends on
besides its prompt (the model's fingerprint, template, temperature, filters, token limit, seed). Its first line is that
law, every other line a sample:

    {"prompt": "5f0c...", "sample": 17, "tokens": 23, "truncated": false, "text": "..."}

`prompt` is a digest of what was asked (`prompt_key`). After the samples that were drawn together stands a line
that proves them to be whole (`aepo_rllib.eval.sampling.lines`). A wave without that line was cut short by a kill and is
drawn again as a whole, because what else is in a batch may move the last digits of a logit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aepo_rllib.envs.completion import SampledText
from aepo_rllib.eval.sampling.lazy_texts import StoredSample
from aepo_rllib.eval.sampling.lines import (
    CURE,
    FIRST_FORMAT,
    Place,
    Seal,
    StoreError,
    head_of,
    read_head,
    read_wave,
    sample_line,
)

__all__ = ["MemorySamples", "Place", "SampleFile", "Samples", "StoreError", "law_digest", "prompt_key", "store_file"]

logger = logging.getLogger(__name__)


class Samples(Protocol):
    """Where a model keeps what it has sampled."""

    def get(self, place: Place) -> SampledText | StoredSample | None:
        """The sample of that place, or None."""

    def add(self, samples: Iterable[tuple[Place, SampledText]]) -> None:
        """Keep samples. A place that is taken keeps what it has."""


class MemorySamples:
    """Samples of one call, kept in memory."""

    def __init__(self) -> None:
        self._texts: dict[Place, SampledText] = {}

    def get(self, place: Place) -> SampledText | None:
        """See `Samples`."""
        return self._texts.get(place)

    def add(self, samples: Iterable[tuple[Place, SampledText]]) -> None:
        """See `Samples`."""
        for place, text in samples:
            self._texts.setdefault(place, text)


class SampleFile:
    """Samples of one law in an append-only file; only their offsets stay in memory.

    A wave that a kill has torn is cut off when the file is opened. One process at a time may write into a store:
    whoever opens it to write claims the folder (`aepo_rllib.support.locks.claimed`).

    Args:
        folder: The store.
        law: What the samples depend on besides their prompts; plain JSON.
        read_only: Leave the file as it is, so that it can be looked at while another process writes.

    Raises:
        StoreError: the file is damaged before its end; `aepo_rllib.eval.sampling.repair` mends it.
        OSError: it cannot be read or written.
    """

    def __init__(self, folder: Path, law: Mapping[str, Any], *, read_only: bool = False) -> None:
        self.path = store_file(folder, law)
        self._index: dict[Place, StoredSample] = {}
        self._head, self._waves, self._bytes = head_of(law), 0, 0
        if self.path.is_file():
            self._read(law)
            if not read_only:
                self._cut()

    def __len__(self) -> int:
        return len(self._index)

    def get(self, place: Place) -> StoredSample | None:
        """See `Samples`."""
        return self._index.get(place)

    def add(self, samples: Iterable[tuple[Place, SampledText]]) -> None:
        """Append a wave, which is on the disk when this returns.

        Raises:
            StoreError: somebody else has written into the file.
            OSError: the disk is full, say; what was there before stays usable.
        """
        lines = [] if self._bytes else [self._head.line]
        offset = self._bytes or len(self._head.line)
        seal, wave = Seal(self._head, self._waves + 1), dict[Place, StoredSample]()
        for place, text in samples:
            if place in self._index or place in wave:
                continue
            wave[place] = StoredSample(self.path, offset, truncated=bool(text.truncated), tokens=text.tokens or 0)
            lines.append(sample_line(place, text))
            seal.add(lines[-1])
            offset += len(lines[-1])
        lines.append(seal.line())
        self._append(b"".join(lines))
        self._index |= wave
        self._waves += 1

    def _append(self, content: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            if file.tell() != self._bytes:
                raise StoreError(f"{self.path} was changed by somebody else while it was written")
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), self._bytes)  # half a wave in the middle would count as damage
                raise
        self._bytes += len(content)

    def _read(self, law: Mapping[str, Any]) -> None:
        """Index every whole wave."""
        with self.path.open("rb") as file:
            head = read_head(file, self.path, law)
            if head is None:
                return
            line = 2
            while wave := read_wave(file, self.path, head, self._waves + 1, line):
                if not self._index.keys().isdisjoint(wave.samples):
                    raise StoreError(f"{self.path}:{line}-{wave.last_line}: samples that an earlier wave has; {CURE}")
                self._index |= wave.samples
                self._waves, self._bytes, line = wave.number, wave.end, wave.last_line + 1
        if self._index and head.format == FIRST_FORMAT:
            self._head = head
            logger.warning("%s was written before samples had checksums: damage in it may go unseen", self.path)

    def _cut(self) -> None:
        """Remove what a kill has torn; without any sample in it, the file."""
        if not self._index:
            self._waves = self._bytes = 0
            self.path.unlink()
        elif self._bytes < self.path.stat().st_size:
            os.truncate(self.path, self._bytes)


def store_file(folder: Path, law: Mapping[str, Any]) -> Path:
    """The file in a store that holds the samples of a law, whether or not it is there."""
    return folder / f"{law_digest(law)}.jsonl"


def law_digest(law: Mapping[str, Any]) -> str:
    """What a law's file is called."""
    return hashlib.sha256(json.dumps(law, sort_keys=True).encode()).hexdigest()[:16]


def prompt_key(text: str, occurrence: int = 0, turns: Sequence[tuple[str, str]] = ()) -> str:
    """Digest of a prompt's text; a suite that asks the same twice has its second sampled on its own.

    Args:
        text: As the task hands it to the model.
        occurrence: How often the suite has asked the same before.
        turns: (role, content) of what the chat says before the text.
    """
    before = f"{json.dumps(turns)}\n" if turns else ""
    return hashlib.sha256(f"{before}{occurrence}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
