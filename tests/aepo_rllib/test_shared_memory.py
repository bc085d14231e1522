"""Buckets of weights that other processes of the machine map."""

from __future__ import annotations

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from aepo_rllib.transfer import shared_memory
from aepo_rllib.transfer.shared_memory import share
from aepo_rllib.transfer.weights import StoredWeights, packed

WEIGHTS = {
    "matrix": torch.arange(15, dtype=torch.float32).reshape(3, 5),
    "half": torch.linspace(-1, 1, 7).to(torch.bfloat16),
    "nothing": torch.zeros(0, 3),
    "flags": torch.tensor([True, False, True]),
}
READER = """
import sys
from aepo_rllib.transfer.shared_memory import MappedBucket
from aepo_rllib.transfer.weights import Entry
for name, tensor in MappedBucket([Entry(*entry) for entry in eval(sys.argv[1])], sys.argv[2]).tensors():
    print(name, tensor.dtype, tensor.tolist(), sep="|")
"""


@pytest.mark.process
def test_another_process_reads_what_was_shared_with_it() -> None:
    [bucket] = [
        (subprocess.check_output([sys.executable, "-c", READER, repr([tuple(e) for e in b.entries]), b.path]), b.path)
        for b in share(iter(WEIGHTS.items()))
    ]
    read, path = bucket
    expected = [f"{name}|{tensor.dtype}|{tensor.tolist()}" for name, tensor in WEIGHTS.items()]
    assert read.decode().splitlines() == expected
    assert not Path(path).exists()


def test_a_bucket_is_gone_when_the_next_is_asked_for_and_its_tensors_last() -> None:
    paths, tensors = [], {}
    for bucket in share(iter(WEIGHTS.items()), 1):
        assert not any(Path(path).exists() for path in paths)
        paths.append(bucket.path)
        tensors.update(bucket.tensors())
    assert len(paths) == len(WEIGHTS)
    assert not Path(paths[-1]).exists()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in WEIGHTS.items())


def test_whoever_breaks_off_leaves_nothing_behind() -> None:
    buckets = share(iter(WEIGHTS.items()), 1)
    path = next(buckets).path
    assert Path(path).exists()
    buckets.close()  # type: ignore[attr-defined]
    assert not Path(path).exists()


def test_what_one_reader_writes_no_other_sees() -> None:
    for bucket in share(iter(WEIGHTS.items())):
        mine, others = dict(bucket.tensors()), dict(bucket.tensors())
        mine["matrix"].zero_()
        assert torch.equal(others["matrix"], WEIGHTS["matrix"])


def test_a_tied_tensor_lies_in_its_bucket_once() -> None:
    embedding, other = torch.randn(100, 8), torch.randn(3)
    tied = [("embedding", embedding), ("head", embedding), ("other", other)]
    [(_, data)] = packed(iter(tied))
    assert embedding.nbytes < len(data) < embedding.nbytes + 100
    for bucket_bytes in (1, 10**6):
        found = {name: tensor for bucket in share(iter(tied), bucket_bytes) for name, tensor in bucket.tensors()}
        assert found.keys() == {"embedding", "head", "other"}
        assert all(torch.equal(found[name], tensor) for name, tensor in tied)


def test_a_name_is_looked_up_without_bringing_a_tensor() -> None:
    buckets = [(entries, place) for place, (entries, _) in enumerate(packed(iter(WEIGHTS.items())))]

    def fetch(place: int) -> np.ndarray:
        raise AssertionError("fetched")

    stored = StoredWeights(buckets, fetch)
    assert "half" in stored
    assert "head" not in stored


def test_a_bucket_that_memory_has_no_room_for_lies_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    free = namedtuple("free", "free")
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: free(10))
    for bucket in share(iter(WEIGHTS.items())):
        assert not bucket.path.startswith(shared_memory.IN_MEMORY)
        assert torch.equal(dict(bucket.tensors())["matrix"], WEIGHTS["matrix"])
