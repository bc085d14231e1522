"""Activations that are computed again: the same figures and gradients, shared prompts kept, and less in memory."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, RwkvConfig

from aepo_rllib.columns import Columns
from aepo_rllib.models.hf import load_model
from aepo_rllib.models.layers import decoder_layers, recompute_activations
from aepo_rllib.models.token_scorer import TokenScorer
from tests.aepo_rllib.test_token_scorer import BATCHES, INTERLEAVED, MODELS, figures_and_gradients, make_batch
from tests.support.modules import ABSOLUTE_POSITIONS, SLIDING_WINDOW

LONG = [(index % 2, 6, 40 + index) for index in range(6)]


def scorer_of(name: str, tiny_models: dict[str, str], **options: bool) -> TokenScorer:
    return TokenScorer(load_model(tiny_models.get(name, name), dtype="float64").eval(), **options)


def kept_bytes(scorer: TokenScorer, batch: dict[str, torch.Tensor]) -> int:
    """What autograd keeps of a pass for its backward, weights aside; every storage once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in scorer.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        figures = scorer(batch)
    assert figures[Columns.POLICY_LOGP].requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("share_prompts", [True, False])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", ["interleaved groups", "parts of like lengths", "one-token completions"])
def test_figures_and_gradients_are_the_same_bits(
    name: str, rows: str, share_prompts: bool, tiny_models: dict[str, str]
) -> None:
    batch = make_batch(BATCHES[rows])
    plain = scorer_of(name, tiny_models, share_prompts=share_prompts)
    again = scorer_of(name, tiny_models, share_prompts=share_prompts, checkpoint=True)
    assert again.share_prompts is share_prompts
    for found, expected in zip(figures_and_gradients(again, batch), figures_and_gradients(plain, batch), strict=True):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("share_prompts", [True, False])
def test_a_pass_keeps_a_fraction_in_the_mode_that_trains(share_prompts: bool, tiny_models: dict[str, str]) -> None:
    batch = make_batch(LONG)
    plain = scorer_of("embedded", tiny_models, share_prompts=share_prompts)
    again = scorer_of("embedded", tiny_models, share_prompts=share_prompts, checkpoint=True)
    for scorer in (plain, again):
        scorer.train()
        scorer.model.eval()  # as the learner's module does: transformers' own switch is silently off there
    assert kept_bytes(again, batch) < kept_bytes(plain, batch) / 5


def test_transformers_own_switch_does_nothing_here(tiny_models: dict[str, str]) -> None:
    """The reason for ours: it is silently off in eval mode, in which dropout is."""
    batch = make_batch(LONG)
    plain, switched = (scorer_of("embedded", tiny_models) for _ in range(2))
    switched.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert kept_bytes(switched, batch) == kept_bytes(plain, batch)


@pytest.mark.parametrize("name", ["embedded", ABSOLUTE_POSITIONS, SLIDING_WINDOW])
def test_names_of_weights_stay_and_a_copy_is_one(name: str, tiny_models: dict[str, str]) -> None:
    plain, again = scorer_of(name, tiny_models), scorer_of(name, tiny_models, checkpoint=True)
    assert again.state_dict().keys() == plain.state_dict().keys()
    other, batch = copy.deepcopy(again), make_batch(INTERLEAVED)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    other(batch)[Columns.POLICY_LOGP].sum().backward()
    assert all(parameter.grad is None for parameter in again.parameters())
    assert any(parameter.grad.any() for parameter in other.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_are_those_that_the_config_counts(name: str, tiny_models: dict[str, str]) -> None:
    model: PreTrainedModel = load_model(tiny_models.get(name, name))
    assert len(decoder_layers(model)) == model.config.num_hidden_layers


@pytest.mark.process  # transformers asks for ninja
def test_a_model_that_does_not_tell_its_layers_is_refused() -> None:
    config = RwkvConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16)
    model = AutoModelForCausalLM.from_config(config)
    model._no_split_modules = None
    if decoder_layers(model):
        pytest.skip("this transformers tells them")
    with pytest.raises(ValueError, match=r"checkpoint_activations=True: models of type 'rwkv' do not tell"):
        recompute_activations(model)
