"""Samples on disk: append-only files that survive a kill, are resumed, extended, and graded again.

A store is a folder. Each file in it holds the samples of one *law*: everything that a sample's distribution depends on
besides its prompt (the model's fingerprint, template, temperature, filters, token limit, seed). Its first line is that
law, every other line a sample:

    {"prompt": "5f0c...", "sample": 17, "text": "...", "tokens": 23, "truncated": false}

`prompt` is a digest of the text that was asked (`prompt_key`). After the samples that were drawn together stands
`{"wave": 64}`, their number. A wave without that line was cut short by a kill and is drawn again as a whole, because
what else is in a batch may move the last digits of a logit.
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

    A wave that a kill has torn is cut off when the file is opened. One process at a time may write into a store:
    whoever opens it to write claims the folder (`aepo_rllib.files.claimed`).

    Args:
        folder: The store.
        law: What the samples depend on besides their prompts; plain JSON.
        read_only: Leave the file as it is, so that it can be looked at while another process writes.

    Raises:
        StoreError: the file is damaged before its end.
        OSError: it cannot be read or written.
    """

    def __init__(self, folder: Path, law: Mapping[str, Any], *, read_only: bool = False) -> None:
        self.path = folder / f"{law_digest(law)}.jsonl"
        self._law = law
        self._index: dict[Place, StoredSample] = {}
        if self.path.is_file():
            whole = self._read()
            if not read_only:
                self._cut(whole)

    def __len__(self) -> int:
        return len(self._index)

    def get(self, place: Place) -> StoredSample | None:
        """See `Samples`."""
        return self._index.get(place)

    def add(self, samples: Iterable[tuple[Place, SampledText]]) -> None:
        """Append a wave, which is on the disk when this returns.

        Raises:
            OSError: the disk is full, say; what was there before stays usable.
        """
        begins = not self.path.is_file()
        lines = [json.dumps({"law": self._law}, sort_keys=True) + "\n"] if begins else []
        offset = len(lines[0]) if begins else self.path.stat().st_size
        wave: dict[Place, StoredSample] = {}
        for place, text in samples:
            if place in self._index or place in wave:
                continue
            wave[place] = StoredSample(self.path, offset, truncated=text.truncated, tokens=text.tokens)
            lines.append(_line(place, text))
            offset += len(lines[-1])
        lines.append(json.dumps({"wave": len(wave)}) + "\n")
        with self.path.open("ab") as file:
            file.write("".join(lines).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        self._index |= wave

    def _read(self) -> int:
        """Index every whole wave; the number of bytes before a torn one."""
        offset = whole = 0
        wave: dict[Place, StoredSample] = {}
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    record = json.loads(line)
                    if number == 1:
                        _check_law(record["law"], self._law)
                    elif "wave" in record:
                        _check_wave(record["wave"], len(wave))
                        self._index |= wave
                        wave = {}
                    else:
                        sample = StoredSample(self.path, offset, truncated=record["truncated"], tokens=record["tokens"])
                        _check_text(record["text"])
                        wave[Place(record["prompt"], record["sample"])] = sample
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(
                        f"{self.path}:{number}: no sample ({error}); the file is damaged, delete it to sample anew"
                    ) from error
                offset += len(line)
                whole = whole if wave else offset
        return whole if self._index else 0

    def _cut(self, whole: int) -> None:
        if not whole:
            self.path.unlink()
        elif whole < self.path.stat().st_size:
            os.truncate(self.path, whole)


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


def _check_wave(announced: int, found: int) -> None:
    if announced != found:
        raise ValueError(f"a wave of {announced} samples with {found} in it")


def _check_text(text: Any) -> None:
    if not isinstance(text, str):
        raise TypeError("its text is none")
