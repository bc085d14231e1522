"""Samples on disk: append-only files that survive a kill, are resumed, extended, and graded again.

A store is a folder. Each file in it holds the samples of one *law*: everything that a sample's distribution depends on
besides its prompt (the model's fingerprint, template, temperature, filters, token limit, seed). Its first line is that
law, every other line a sample:

    {"prompt": "5f0c...", "sample": 17, "text": "...", "tokens": 23, "truncated": false}

`prompt` is a digest of the text that was asked (`prompt_key`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from aepo_rllib.eval.sampling.samples import SampledText, StoredSample


class StoreError(ValueError):
    """A file of samples cannot be used; the message names the file, the line and the reason."""


class Place(NamedTuple):
    """Which sample: of which prompt, and its number."""

    prompt: str
    sample: int


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

    A line that a kill has torn is cut off when the file is opened. One process at a time may write into a store:
    whoever opens it claims the folder (`aepo_rllib.files.claimed`).

    Args:
        folder: The store.
        law: What the samples depend on besides their prompts; plain JSON.

    Raises:
        StoreError: the file is damaged before its end.
        OSError: it cannot be read or written.
    """

    def __init__(self, folder: Path, law: Mapping[str, Any]) -> None:
        self.path = folder / f"{law_digest(law)}.jsonl"
        self._law = law
        self._index: dict[Place, StoredSample] = {}
        if self.path.is_file():
            self._read()

    def __len__(self) -> int:
        return len(self._index)

    def get(self, place: Place) -> StoredSample | None:
        """See `Samples`."""
        return self._index.get(place)

    def add(self, samples: Iterable[tuple[Place, SampledText]]) -> None:
        """Append samples as one write, which is on the disk when this returns.

        Raises:
            OSError: the disk is full, say; what was there before stays usable.
        """
        lines = [] if self.path.is_file() else [json.dumps({"law": self._law}, sort_keys=True) + "\n"]
        offset = self.path.stat().st_size if self.path.is_file() else len(lines[0])
        for place, text in samples:
            if place in self._index:
                continue
            line = _line(place, text)
            self._index[place] = StoredSample(self.path, offset, truncated=text.truncated, tokens=text.tokens)
            lines.append(line)
            offset += len(line)
        with self.path.open("ab") as file:
            file.write("".join(lines).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        """Index every line, and cut off a torn one."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                    if number == 1:
                        _check_law(record["law"], self._law)
                    else:
                        sample = StoredSample(self.path, whole, truncated=record["truncated"], tokens=record["tokens"])
                        self._index.setdefault(Place(record["prompt"], record["sample"]), sample)
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(f"{self.path}:{number}: no sample ({error}); remove the line to go on") from error
                whole += len(line)
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)
        if not whole:
            self.path.unlink()


def law_digest(law: Mapping[str, Any]) -> str:
    """What a law's file is called."""
    return hashlib.sha256(json.dumps(law, sort_keys=True).encode()).hexdigest()[:16]


def prompt_key(text: str, occurrence: int = 0) -> str:
    """Digest of a prompt's text; a suite that asks the same twice has its second sampled on its own.

    Args:
        text: As the task hands it to the model.
        occurrence: How often the suite has asked the same before.
    """
    return hashlib.sha256(f"{occurrence}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _line(place: Place, text: SampledText) -> str:
    record = {"prompt": place.prompt, "sample": place.sample, "tokens": text.tokens, "truncated": text.truncated}
    return json.dumps(record | {"text": str(text)}) + "\n"


def _check_law(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if found != json.loads(json.dumps(wanted)):
        raise ValueError(f"it holds samples of another law: {found}")
