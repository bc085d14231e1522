"""Weights on their way to engines: every byte arrives, once, and never all at the same time."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import ray
import torch

from aepo_rllib.models.hf import load_model
from aepo_rllib.models.named_weights import check_names, copy_weights, own_state, second_names, with_second_names
from aepo_rllib.transfer.object_store import store
from aepo_rllib.transfer.weights import LiveWeights, StoredWeights, packed


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(3, 5, generator=generator),
        "half": torch.randn(7, generator=generator).to(torch.bfloat16),
        "transposed": torch.randn(4, 2, generator=generator).T,
        "counts": torch.arange(5),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "nothing": torch.zeros(0, 3),
        "flags": torch.tensor([True, False, True]),
    }


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("bucket_bytes", [1, 40, 10**6])
def test_packed_tensors_come_back_with_their_dtypes_and_shapes(bucket_bytes: int) -> None:
    buckets = list(packed(iter(tensors().items()), bucket_bytes))
    assert (len(buckets) == 1) is (bucket_bytes == 10**6)
    weights = StoredWeights([(entries, place) for place, (entries, _) in enumerate(buckets)], lambda n: buckets[n][1])
    assert_same(dict(weights.items()), tensors())
    assert list(weights) == list(tensors())
    assert len(weights) == len(tensors())
    assert torch.equal(weights["half"], tensors()["half"])
    assert weights.bytes == sum(tensor.nbytes for tensor in tensors().values())


def test_a_bucket_is_packed_before_the_next_tensor_is_made() -> None:
    made: list[str] = []

    def one_by_one() -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in tensors().items():
            made.append(name)
            yield name, tensor

    first, _ = next(packed(one_by_one(), 64))
    assert len(made) == len(first) + 1


def test_through_rays_object_store(ray_cluster: None) -> None:
    """Written by one process and read by another, which is sent no weights but a handle."""

    @ray.remote
    def write() -> StoredWeights:
        return store(iter(tensors().items()), 64)

    @ray.remote
    def read(weights: StoredWeights) -> dict[str, np.ndarray]:
        return {name: tensor.double().numpy().copy() for name, tensor in weights.items()}

    weights = ray.get(write.remote())
    found = ray.get(read.remote(weights))
    assert list(found) == list(tensors())
    for name, tensor in tensors().items():
        np.testing.assert_array_equal(found[name], tensor.double().numpy())
    big = ray.get(ray.remote(lambda: store(iter({"big": torch.zeros(10**6)}.items()))).remote())
    assert len(ray.cloudpickle.dumps(big)) < 10_000 < big.bytes


def test_live_weights_are_read_when_they_are_asked_for_and_leave_nothing_in_a_pickle() -> None:
    state = {"weight": torch.zeros(1000)}
    live = LiveWeights(list(state), lambda: iter(state.items()))
    state["weight"] += 1
    assert list(live) == ["weight"]
    assert live["weight"].sum() == 1000
    assert len(pickle.dumps(live)) < 200


def test_weights_are_copied_into_a_model_whatever_they_are_tied_to_or_rounded_to() -> None:
    source, target = load_model("embedded"), load_model("embedded")
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.5)
    assert second_names(source) == {"lm_head.weight": "model.embed_tokens.weight"}
    own = own_state(source)
    assert "lm_head.weight" not in own
    for given in (own, {name: tensor.numpy() for name, tensor in source.state_dict().items()}):
        copy_weights(target, given)  # type: ignore[arg-type]
        assert all(torch.equal(a, b) for a, b in zip(target.parameters(), source.parameters(), strict=True))
        with torch.no_grad():
            target.lm_head.weight.zero_()
    copy_weights(target, {name: tensor.to(torch.bfloat16) for name, tensor in own.items()})
    assert target.dtype == torch.float32
    assert torch.equal(target.lm_head.weight, source.lm_head.weight.to(torch.bfloat16).float())
    assert dict(with_second_names(own, source)).keys() == source.state_dict().keys()


def test_weights_that_are_missing_unknown_or_misshapen_are_named() -> None:
    model = load_model("embedded")
    own = own_state(model)
    before = {name: tensor.clone() for name, tensor in own.items()}
    with pytest.raises(ValueError, match=r"missing \['model.norm.weight'\], unknown \['strange'\]"):
        check_names(
            {**{n: t for n, t in own.items() if n != "model.norm.weight"}, "strange": own["model.norm.weight"]}, model
        )
    head_alone = {n: t for n, t in model.state_dict().items() if n != "model.embed_tokens.weight"}
    check_names(head_alone, model)
    with pytest.raises(ValueError, match=r"model.norm.weight has shape \(3,\) instead of \(96,\)"):
        copy_weights(model, {**own, "model.norm.weight": torch.zeros(3)})
    assert all(torch.equal(before[name], tensor) for name, tensor in own_state(model).items() if "layers.0" in name)
