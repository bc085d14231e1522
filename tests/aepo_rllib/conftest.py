from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.modules import ABSOLUTE_POSITIONS, SLIDING_WINDOW, build_module

if TYPE_CHECKING:
    from aepo_rllib.learning.rl_module import CausalLMModule
    from tests.support.small_runs import Reference


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small matrices are slower on many threads, and sums should come in one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of random models, 32 tokens each: learned positions and dropout, and a window of 4 tokens."""
    return _random_models(tmp_path_factory, head_dim=8)


@pytest.fixture(scope="session")
def engine_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same with the smallest heads that every engine can do."""
    return _random_models(tmp_path_factory, head_dim=32)


def _random_models(tmp_path_factory: pytest.TempPathFactory, *, head_dim: int) -> dict[str, str]:
    from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig

    shape = {"vocab_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    configs = {
        ABSOLUTE_POSITIONS: GPT2Config(n_positions=64, n_embd=2 * head_dim, n_layer=2, n_head=2, **shape),
        SLIDING_WINDOW: MistralConfig(
            hidden_size=2 * head_dim,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=head_dim,
            sliding_window=4,
            max_position_embeddings=64,
            **shape,
        ),
    }
    folders = {}
    for name, config in configs.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(10)  # away from the uniform policy, so that positions and context matter
        folders[name] = str(tmp_path_factory.mktemp(name))
        model.save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="session")
def module() -> CausalLMModule:
    """The embedded model as the learner sees it."""
    return build_module("embedded")


@pytest.fixture(scope="session")
def reference(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    """One run that many tests look at; they leave it as they find it."""
    from tests.support.small_runs import reference_run

    run = reference_run(tmp_path_factory.mktemp("reference"))
    yield run
    run.algo.stop()
