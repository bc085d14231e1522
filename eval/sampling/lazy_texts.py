"""Samples as lm-eval passes them on: strings that know more than their text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from aepo_rllib.envs.completion import SampledText


class StoredSample(str):
    """A completion that lies on the disk: a thousand samples of five hundred problems need not fit into memory.

    As a string it is the place, `FILE:OFFSET`; `texts_of` reads the text.

    Args:
        file: Of the store.
        offset: Where its line begins, in bytes.
        tokens: As in `SampledText`.
        truncated: Likewise.
    """

    __slots__ = ("file", "offset", "tokens", "truncated")

    file: Path
    offset: int
    tokens: int
    truncated: bool

    def __new__(cls, file: Path, offset: int, *, tokens: int, truncated: bool) -> StoredSample:
        """A string with the attributes above."""
        sample = super().__new__(cls, f"{file.name}:{offset}")
        sample.file, sample.offset, sample.tokens, sample.truncated = file, offset, tokens, truncated
        return sample

    def __getnewargs_ex__(self) -> tuple[tuple[Path, int], dict[str, int]]:
        return (self.file, self.offset), {"tokens": self.tokens, "truncated": self.truncated}

    def load(self) -> SampledText:
        """The completion itself.

        Raises:
            OSError: the file cannot be read.
        """
        (text,) = texts_of([self])
        return text


class MissingSample(str):
    """The empty place of a sample that was never drawn; it takes no part in any score."""

    __slots__ = ()


def texts_of(samples: Iterable[str]) -> Iterator[SampledText]:
    """The texts of completions, wherever they lie, one by one, with what is known of them.

    Raises:
        ValueError: a file of samples was changed after it had been looked through.
        OSError: a stored one cannot be read.
    """
    with ExitStack() as stack:
        files: dict[Path, BinaryIO] = {}
        for sample in samples:
            told = {name: getattr(sample, name, None) for name in ("tokens", "truncated")}
            if not isinstance(sample, StoredSample):
                yield SampledText(sample, **told)
                continue
            if sample.file not in files:
                files[sample.file] = stack.enter_context(sample.file.open("rb"))
            files[sample.file].seek(sample.offset)
            try:
                text = json.loads(files[sample.file].readline())["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{sample.file} was changed while its samples were read; try again") from error
            yield SampledText(text, **told)
