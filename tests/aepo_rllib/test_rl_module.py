"""`CausalLMModule`: a `TokenScorer` behind RLlib's interface, and one policy whatever the mode."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchDDPRLModule

from aepo_rllib.columns import Columns
from aepo_rllib.learning.rl_module import CausalLMModule
from aepo_rllib.models.state_names import hf_names
from tests.support.modules import ABSOLUTE_POSITIONS, build_module

FIGURES_OF_RLLIB = {Columns.POLICY_LOGP, Columns.ENTROPY, Columns.LOGIT_VARIANCE}


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two prompts of 5 tokens with two completions of 3 tokens each."""
    generator = torch.Generator().manual_seed(0)
    return {
        Columns.PROMPT_IDS: torch.randint(32, (2, 5), generator=generator)[[0, 0, 1, 1]],
        Columns.PROMPT_MASK: torch.ones(4, 5, dtype=torch.bool),
        Columns.COMPLETION_IDS: torch.randint(32, (4, 3), generator=generator),
        Columns.COMPLETION_MASK: torch.ones(4, 3, dtype=torch.bool),
        Columns.PROMPT_INDEX: torch.tensor([0, 0, 1, 1]),
    }


@pytest.fixture
def one_learner(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_forward_returns_figures_per_token_and_no_logits(
    module: CausalLMModule, batch: dict[str, torch.Tensor]
) -> None:
    for forward in (module.forward_train, module.forward_inference, module.forward_exploration):
        output = forward(batch)
        assert set(output) == FIGURES_OF_RLLIB
        assert {tuple(figure.shape) for figure in output.values()} == {(4, 3)}
    assert module.forward_train(batch)[Columns.POLICY_LOGP].requires_grad


@pytest.mark.parametrize("reads", [(), frozenset({Columns.HEATED_LOGP}), [Columns.ENTROPY, Columns.LOGIT_VARIANCE]])
def test_what_is_read_reaches_the_module_through_rllibs_wrappers(
    reads: Collection[str], batch: dict[str, torch.Tensor], one_learner: None
) -> None:
    module = build_module("embedded")
    expected = module.scorer(batch, reads, temperature=2.0)
    assert set(expected) == {Columns.POLICY_LOGP, *reads}
    for wrapped in (module, TorchDDPRLModule(module)):
        multi = MultiRLModule()
        multi.add_module(DEFAULT_MODULE_ID, wrapped)
        output = multi.forward_train({DEFAULT_MODULE_ID: batch}, reads=reads, temperature=2.0)[DEFAULT_MODULE_ID]
        assert set(output) == set(expected)
        assert all(torch.equal(output[name], expected[name]) for name in expected)


def test_sixteen_bits_are_for_forward_passes_alone(batch: dict[str, torch.Tensor]) -> None:
    module = build_module("embedded", dtype="bfloat16")
    assert module.scorer.autocast_to is torch.bfloat16
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    logp, exact = (m.forward_train(batch)[Columns.POLICY_LOGP] for m in (module, build_module("embedded")))
    assert 1e-4 < (logp - exact).abs().mean() < 0.1


def test_sharing_of_prompts_can_be_switched_off() -> None:
    assert build_module("embedded").scorer.share_prompts
    assert not build_module("embedded", share_prompts=False).scorer.share_prompts


def test_training_mode_keeps_dropout_off(tiny_models: dict[str, str], batch: dict[str, torch.Tensor]) -> None:
    module = build_module(tiny_models[ABSOLUTE_POSITIONS])
    assert module.model.config.resid_pdrop > 0
    expected = module.eval().forward_train(batch)[Columns.POLICY_LOGP]
    assert module.train() is module
    assert module.training
    for _ in range(2):
        assert torch.equal(module.forward_train(batch)[Columns.POLICY_LOGP], expected)


def test_state_carries_the_names_of_the_hugging_face_model(module: CausalLMModule) -> None:
    state = hf_names(module.get_state())
    assert set(state) == set(module.model.state_dict())
