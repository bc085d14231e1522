"""Weights on their way: named tensors that are there when they are asked for, and not all at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

BUCKET_BYTES = 512 * 2**20
"""Fewest bytes that a bucket of several tensors is closed at; a larger tensor has one of its own."""

ALIGNMENT = 16
"""Every tensor begins at a multiple of so many bytes."""

Named = Iterator[tuple[str, torch.Tensor]]


class LazyWeights(Mapping[str, torch.Tensor]):
    """Weights by name. Going through `items()` once, in order, holds one tensor, or one bucket, at a time."""

    def __getitem__(self, name: str) -> torch.Tensor:
        for other, tensor in self.items():
            if other == name:
                return tensor
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name == each for each in self)  # without bringing any


class LiveWeights(LazyWeights):
    """Of a model in this very process; they cannot leave it.

    Args:
        names: All of them.
        read: Goes through the tensors.
    """

    def __init__(self, names: Sequence[str], read: Callable[[], Named]) -> None:
        self._names, self._read = tuple(names), read

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def items(self) -> Any:
        """Names and tensors."""
        return self._read()

    def __reduce__(self) -> Any:
        # RLlib also puts into the object store what goes to the local env runner alone.
        return _left_behind, ()


class Entry(NamedTuple):
    """A tensor in a bucket.

    Attributes:
        name: Of the weight.
        shape, dtype: Its own; the dtype by torch's name, "bfloat16".
        start, bytes: Where it lies in the bucket.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    bytes: int


class StoredWeights(LazyWeights):
    """In buckets that lie elsewhere.

    Args:
        buckets: What lies in each, and what `fetch` needs to get it.
        fetch: Gives a bucket's bytes, uint8 (bytes,).

    Attributes:
        bytes: Of all weights.
    """

    def __init__(self, buckets: Sequence[tuple[Sequence[Entry], Any]], fetch: Callable[[Any], np.ndarray]) -> None:
        self.buckets, self._fetch = list(buckets), fetch
        self.bytes = sum(entry.bytes for entries, _ in self.buckets for entry in entries)

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entries, _ in self.buckets for entry in entries)

    def __len__(self) -> int:
        return sum(len(entries) for entries, _ in self.buckets)

    def items(self) -> Any:
        """Names and tensors; these share their bucket's memory, and must not be written to."""
        for entries, place in self.buckets:
            yield from unpacked(entries, self._fetch(place))


def _left_behind() -> dict[str, torch.Tensor]:
    return {}


def packed(weights: Named, bucket_bytes: int = BUCKET_BYTES) -> Iterator[tuple[list[Entry], np.ndarray]]:
    """Tensors as buckets of bytes; each is complete before the next begins."""
    return ((entries, np.concatenate(parts)) for entries, parts in collected(weights, bucket_bytes))


def collected(weights: Named, bucket_bytes: int = BUCKET_BYTES) -> Iterator[tuple[list[Entry], list[np.ndarray]]]:
    """What `packed` makes buckets of: arrays of bytes, to be laid one after the other.

    A tensor that comes again at once, by another name, lies in the bucket once.
    """
    entries: list[Entry] = []
    parts: list[np.ndarray] = []
    size, before = 0, None
    for name, tensor in weights:
        if tensor is before:
            entries.append(entries[-1]._replace(name=name))
            continue
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        if parts and size + len(data) > bucket_bytes:
            yield entries, parts
            entries, parts, size = [], [], 0
        entries.append(Entry(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), size, len(data)))
        parts += [data, np.empty(-len(data) % ALIGNMENT, np.uint8)]
        size += len(data) + len(parts[-1])
        before = tensor
    if parts:
        yield entries, parts


def unpacked(entries: Sequence[Entry], data: np.ndarray) -> Named:
    """Undo `packed`, without a copy."""
    for entry in entries:
        dtype = getattr(torch, entry.dtype)
        if not entry.bytes:
            yield entry.name, torch.empty(entry.shape, dtype=dtype)
            continue
        with warnings.catch_warnings():  # memory of Ray's object store must not be written to, and nobody does
            warnings.simplefilter("ignore", UserWarning)
            flat = torch.from_numpy(data[entry.start : entry.start + entry.bytes])
        yield entry.name, flat.view(dtype).reshape(entry.shape)
