"""Weights that a vLLM engine takes while it runs: bucket by bucket, and whole after an update that broke off."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from aepo_rllib.models.hf import load_model
from aepo_rllib.models.named_weights import own_state
from aepo_rllib.rollout import make_engine
from aepo_rllib.rollout.transformers import TransformersEngine
from aepo_rllib.transfer import shared_memory
from aepo_rllib.transfer.weights import LiveWeights

pytest.importorskip("vllm")

SEQUENCES = [([5, 6, 7], [8, 9, 10, 11])]
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


def breaking_off(state: Mapping[str, torch.Tensor], after: int) -> LiveWeights:
    """Weights whose source is lost when some of them have been read."""

    def read() -> Iterator[tuple[str, torch.Tensor]]:
        for index, (name, tensor) in enumerate(state.items()):
            if index == after:
                raise ConnectionError("the learner is gone")
            yield name, tensor

    return LiveWeights(list(state), read)


def assert_is(engine: Any, model: PreTrainedModel) -> None:
    [expected], [found] = TransformersEngine(model).log_probs(SEQUENCES), engine.log_probs(SEQUENCES)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_update_that_breaks_off_anywhere_spoils_nothing_of_the_next() -> None:
    """Layers of which a part had come must not take it for the new one's."""
    model = load_model("embedded")
    state = own_state(model)
    strange = {name: torch.randn_like(tensor) for name, tensor in state.items()}
    engine = make_engine("vllm", "embedded")
    try:
        for after in range(len(state)):
            with pytest.raises(ConnectionError, match="the learner is gone"):
                engine.update_weights(breaking_off(strange, after), version=1)
            assert engine.weights_version == 0
            with torch.no_grad():
                for parameter in model.parameters():  # what is left over from the last round is wrong now
                    parameter.add_(0.02 * torch.randn(parameter.shape))
            engine.update_weights(state, version=0)
            assert_is(engine, model)
    finally:
        engine.close()


def test_workers_are_shown_a_bucket_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peak_growth: Callable[[Callable[[], None]], int]
) -> None:
    """Of 130 MB, made tensor by tensor, neither who asks nor a worker ever has more than a few, and none are left."""
    monkeypatch.setattr(shared_memory.share, "__defaults__", (8 * 2**20,))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPE))
    model.save_pretrained(tmp_path)
    sizes = {name: (tensor.shape, float(tensor.std()) + 0.01) for name, tensor in own_state(model).items()}
    assert sum(4 * size.numel() for size, _ in sizes.values()) > 120e6

    def made() -> Iterator[tuple[str, torch.Tensor]]:
        for index, (name, (size, scale)) in enumerate(sizes.items()):
            yield name, scale * torch.randn(size, generator=torch.Generator().manual_seed(index))

    model.load_state_dict(dict(made()), strict=False)
    weights = LiveWeights(list(sizes), made)
    engine = make_engine("vllm", str(tmp_path), tensor_parallel_size=2)
    try:
        for after in (1, 10, len(sizes) - 1):
            with pytest.raises(ConnectionError, match="the learner is gone"):
                engine.update_weights(breaking_off(own_state(model), after), version=1)
        assert peak_growth(lambda: engine.update_weights(weights, version=2)) < 60e6
        assert not list(Path(shared_memory.IN_MEMORY).glob(f"{shared_memory.PREFIX}*"))
        assert_is(engine, model)
    finally:
        engine.close()


@pytest.fixture
def peak_growth() -> Callable[[Callable[[], None]], int]:
    """Bytes by which this process, or one that it started, grows at most while something is done: resident memory."""

    def status(pid: int, key: str) -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(key)), 0)

    def measured(act: Callable[[], None]) -> int:
        pids = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
        for pid in pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        before = {pid: status(pid, "VmRSS") for pid in pids}
        act()
        return max(status(pid, "VmHWM") - size for pid, size in before.items())

    return measured
