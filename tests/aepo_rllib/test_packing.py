"""Packed rows: every kernel's way to look at them, which models are refused, and gradients that wait for nobody."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    FalconConfig,
    Gemma3TextConfig,
    GptOssConfig,
    Llama4TextConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from aepo_rllib.columns import Columns
from aepo_rllib.models.hf import load_model
from aepo_rllib.models.layers import decoder_layers
from aepo_rllib.models.packing import pack
from aepo_rllib.models.token_scorer import TokenScorer
from tests.aepo_rllib.test_token_scorer import (
    BATCHES,
    INTERLEAVED,
    figures_and_gradients,
    load,
    make_batch,
)
from tests.support.modules import SLIDING_WINDOW

LONG = [(0, 11, 14), (1, 3, 9), (0, 11, 2), (1, 3, 16)]
SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
}
KINDS: dict[str, PreTrainedConfig] = {
    "norms of queries and keys": Qwen3Config(**SMALL),
    "a window in every other layer": Gemma3TextConfig(
        **SMALL, sliding_window=5, layer_types=["sliding_attention", "full_attention"]
    ),
    "sinks": GptOssConfig(**SMALL, sliding_window=6, num_local_experts=2, num_experts_per_tok=1),
}


def flash_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: torch.Tensor,
    max_length_q: int,
    max_length_k: int,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers' flash kernels compute, one sequence after the other: the last query sees all keys."""
    outputs = []
    ends_q, ends_k = cu_seq_lens_q.tolist(), cu_seq_lens_k.tolist()
    assert ends_q[-1] == query.shape[2]
    assert ends_k[-1] == key.shape[2]
    for place in range(len(ends_q) - 1):
        q = query[0, :, ends_q[place] : ends_q[place + 1]]
        k, v = (states[0, :, ends_k[place] : ends_k[place + 1]] for states in (key, value))
        assert (q.shape[1] <= max_length_q, k.shape[1] <= max_length_k) == (True, True)
        k, v = (states.repeat_interleave(len(q) // len(states), 0) for states in (k, v))
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        if sliding_window is not None:
            seen &= seen.triu(k.shape[1] - q.shape[1] - sliding_window + 1)
        scores = (q @ k.transpose(1, 2) * scaling).masked_fill(~seen, -torch.inf)
        outputs.append(scores.softmax(-1) @ v)
    return torch.cat(outputs, dim=1).transpose(0, 1)[None], None


@pytest.mark.parametrize("kernel", ["flash_attention_by_definition", "eager"])
@pytest.mark.parametrize("name", ["embedded", SLIDING_WINDOW])
@pytest.mark.parametrize("rows", ["interleaved groups", "one-token completions", "parts of like lengths"])
def test_other_kernels_see_the_same_sequences(name: str, kernel: str, rows: str, tiny_models: dict[str, str]) -> None:
    AttentionInterface.register("flash_attention_by_definition", flash_attention)
    batch = make_batch(BATCHES[rows])
    model, plain = (load(name, tiny_models, "float64") for _ in range(2))
    model.config._attn_implementation = kernel
    packed, expected = TokenScorer(model), TokenScorer(plain)
    packed.head_is_linear = packed.share_prompts = (
        True  # not tried against padded rows, of which a kernel knows nothing
    )
    for found, wanted in zip(figures_and_gradients(packed, batch), figures_and_gradients(expected, batch), strict=True):
        assert found.keys() == wanted.keys()
        for column in wanted:
            scale = 5 * max(1.0, wanted[column].abs().max().item())  # "eager" has softmaxes in float32
            torch.testing.assert_close(found[column], wanted[column], atol=2e-6 * scale, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_of_many_kinds_is_packed(kind: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(KINDS[kind]).double().eval()
    model.config._experts_implementation = "eager"  # the only one in float64
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    batch = make_batch(LONG)
    packed, padded = TokenScorer(model), TokenScorer(model, share_prompts=False)
    assert packed.share_prompts
    for found, wanted in zip(figures_and_gradients(packed, batch), figures_and_gradients(padded, batch), strict=True):
        for column in wanted:
            scale = max(1.0, wanted[column].abs().max().item())
            torch.testing.assert_close(found[column], wanted[column], atol=2e-6 * scale, rtol=1e-6)


def test_attention_that_a_few_tokens_do_not_show_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    config = Llama4TextConfig(
        **SMALL, intermediate_size_mlp=24, num_local_experts=2, attention_chunk_size=64, moe_layers=[]
    )
    assert "chunked_attention" in config.layer_types
    with caplog.at_level("WARNING", logger="aepo_rllib"):
        assert not TokenScorer(AutoModelForCausalLM.from_config(config).eval()).share_prompts
    assert "chunked_attention of llama4_text does not know packed rows" in caplog.text


def test_a_model_that_looks_at_the_name_of_its_kernel_keeps_its_own_padded_rows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = FalconConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    model, batch = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval(), make_batch(LONG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    bare = copy.deepcopy(model)
    with caplog.at_level("WARNING", logger="aepo_rllib"):
        assert not TokenScorer(model).share_prompts
    logp_NT = TokenScorer(model)(batch)[Columns.POLICY_LOGP]
    mask_NT = batch[Columns.COMPLETION_MASK]
    expected = TokenScorer(bare, share_prompts=False)(batch)[Columns.POLICY_LOGP]
    torch.testing.assert_close(logp_NT[mask_NT], expected[mask_NT], atol=1e-4, rtol=1e-5)
    assert model.config._attn_implementation == "sdpa"


def test_a_prompt_is_there_once_and_nothing_is_padding() -> None:
    packing = pack(make_batch(INTERLEAVED))
    prompts = {index: length for index, length, _ in INTERLEAVED}
    assert packing.ids.shape == (1, sum(prompts.values()) + sum(length - 1 for *_, length in INTERLEAVED))
    assert len(packing.sources) == sum(length for *_, length in INTERLEAVED)


def test_gradients_of_a_layer_are_done_before_the_next_begins() -> None:
    """Those of 28 layers that wait for each other are another copy of the model."""
    scorer, events = TokenScorer(load_model("embedded")), list[tuple[str, int]]()
    scorer(make_batch(INTERLEAVED))  # the forms are tried here
    layers = decoder_layers(scorer.model)
    for place, layer in enumerate(layers):
        layer.register_full_backward_pre_hook(lambda *_, place=place: events.append(("begins", place)))
        for weight in layer.parameters():
            weight.register_post_accumulate_grad_hook(lambda *_, place=place: events.append(("done", place)))
    scorer(make_batch(INTERLEAVED))[Columns.POLICY_LOGP].sum().backward()
    assert len(layers) > 1
    expected = []
    for place in reversed(range(len(layers))):
        expected += [("begins", place), *[("done", place)] * len(list(layers[place].parameters()))]
    assert events == expected


def test_another_kernel_that_is_chosen_later_sees_the_same_sequences() -> None:
    scorer, batch = TokenScorer(load_model("embedded")), make_batch(INTERLEAVED)
    expected = scorer(batch)[Columns.POLICY_LOGP]
    scorer.model.set_attn_implementation("eager")
    torch.testing.assert_close(scorer(batch)[Columns.POLICY_LOGP], expected, atol=1e-5, rtol=1e-5)
