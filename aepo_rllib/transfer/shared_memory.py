"""Buckets that other processes of this machine map instead of copying."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from aepo_rllib.transfer.weights import BUCKET_BYTES, Entry, Named, collected, unpacked

IN_MEMORY = "/dev/shm"
"""Files in here are memory."""

PREFIX = "aepo-weights-"


class MappedBucket(NamedTuple):
    """Named tensors in a file; it is cheap to send.

    Attributes:
        entries: What lies in it.
        path: Of the file. It has to be mapped before the next bucket is asked for, and lasts as long as the tensors.
    """

    entries: Sequence[Entry]
    path: str

    def tensors(self) -> Named:
        """Names and tensors; what is written to them stays in this process."""
        data = np.memmap(self.path, np.uint8, mode="c") if os.path.getsize(self.path) else np.empty(0, np.uint8)
        return unpacked(self.entries, data)


def share(weights: Iterator[tuple[str, torch.Tensor]], bucket_bytes: int = BUCKET_BYTES) -> Iterator[MappedBucket]:
    """Weights bucket by bucket. Each is there until the next is asked for, or the iterator is closed.

    Raises:
        OSError: there is no room for a bucket.
    """
    for entries, parts in collected(weights, bucket_bytes):
        with tempfile.NamedTemporaryFile(dir=_folder(sum(map(len, parts))), prefix=PREFIX, buffering=0) as file:
            for part in parts:
                part.tofile(file)
            parts.clear()
            yield MappedBucket(entries, file.name)


def _folder(size: int) -> str | None:
    """Where so many bytes have room; None is the disk. Containers may have but 64 MB of shared memory."""
    return IN_MEMORY if os.path.isdir(IN_MEMORY) and shutil.disk_usage(IN_MEMORY).free > size else None
