"""Sampled tokens have the log-probs that the learner gives them, whatever cache a model has, or it is refused.

Source of cases: pytorch/torchtitan#3756 (linear-attention layers).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.experience.rows import Row, columns_of
from aepo_rllib.models.hf import ModelError, check_model, load_model, load_tokenizer
from aepo_rllib.rollout import Prompt
from aepo_rllib.rollout.transformers import TransformersEngine
from tests.support.modules import build_module

TOLERANCE = 1e-3
ENDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
SIZES = ENDS | {
    "vocab_size": 80,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
}
MAMBA = {"vocab_size": 80, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2} | ENDS
MAMBA_LAYERS = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
CONV = {"layer_types": ["conv", "full_attention"] * 2}
WINDOW = {"sliding_window": 4, "head_dim": 8}

SAMPLED: dict[str, dict[str, Any]] = {
    "Qwen3_5TextConfig": SIZES | LINEAR | {"head_dim": 8},
    "Qwen3NextConfig": SIZES | LINEAR | EXPERTS | {"head_dim": 8, "shared_expert_intermediate_size": 16},
    "OlmoHybridConfig": SIZES | LINEAR,
    "Lfm2Config": SIZES | CONV,
    "Lfm2MoeConfig": SIZES | CONV | EXPERTS | {"num_dense_layers": 1},
    "GraniteMoeHybridConfig": SIZES | MAMBA_LAYERS | EXPERTS | {"layer_types": ["mamba", "attention"] * 2},
    "MambaConfig": MAMBA,
    "FalconMambaConfig": MAMBA,
    "Mamba2Config": MAMBA | {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8},
    "FalconH1Config": SIZES | MAMBA_LAYERS | {"mamba_d_ssm": 64},
    "JambaConfig": SIZES
    | EXPERTS
    | {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "use_mamba_kernels": False},
    "BambaConfig": SIZES | MAMBA_LAYERS | {"attn_layer_indices": [1, 3]},
    "ZambaConfig": SIZES
    | {
        "layers_block_type": ["mamba", "hybrid"] * 2,
        "mamba_d_state": 8,
        "n_mamba_heads": 2,
        "use_mamba_kernels": False,
    },
    "Zamba2Config": SIZES
    | {"layers_block_type": ["mamba", "hybrid"] * 2, "mamba_d_state": 8, "n_mamba_heads": 8, "mamba_ngroups": 1}
    | {"mamba_headdim": 8, "chunk_size": 8, "num_mem_blocks": 1},
    "Gemma3TextConfig": SIZES | WINDOW | {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
    "MistralConfig": SIZES | WINDOW,
    "GptOssConfig": SIZES | WINDOW | EXPERTS,
    "Llama4TextConfig": SIZES | EXPERTS | {"attention_chunk_size": 4, "intermediate_size_mlp": 48, "head_dim": 8},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "RecurrentGemmaConfig": (
        {**SIZES, "lru_width": 32, "attention_window_size": 8, "block_types": ["recurrent", "attention"]},
        "type 'recurrent_gemma' .* keep their state in themselves",
    ),
    "MiniMaxConfig": (SIZES | EXPERTS | {"block_size": 8}, r"type 'minimax' .* of their own \(MiniMaxCache\)"),
    "RwkvConfig": ({"vocab_size": 80, "hidden_size": 32, "num_hidden_layers": 2} | ENDS, "type 'rwkv' .* no cache"),
    "xLSTMConfig": (
        {"vocab_size": 80, "hidden_size": 32, "num_blocks": 2, "num_heads": 2} | ENDS,
        r"type 'xlstm' .* \(xLSTMCache\)",
    ),
    "OpenAIGPTConfig": (
        {"vocab_size": 80, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4},
        "type 'openai-gpt' .* no cache",
    ),
}


def random_model(name: str, settings: dict[str, Any]) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(getattr(transformers, name)(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # away from the uniform policy, so that what came before matters
    return model


def prompts_of(*lengths: int) -> list[Prompt]:
    generator = torch.Generator().manual_seed(1)
    return [
        Prompt(torch.randint(5, 80, (length,), generator=generator).tolist(), [(length, n) for n in range(4)])
        for length in lengths
    ]


def differences(model: PreTrainedModel, prompts: list[Prompt], learners: Callable[[list[Row]], Any]) -> list[float]:
    """Largest difference of a completion's log-probs, each between the engine's sampling and the learner."""
    groups = TransformersEngine(model).generate(prompts, max_new_tokens=9, stop_ids=range(1, 8))
    rows = [
        Row(prompt.token_ids, completion.token_ids, completion.policy_logp, 1.0, 0)
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group
    ]
    assert len({len(row.completion_ids) for row in rows}) > 1, "no row ended before the others"
    return [
        float(np.abs(row.policy_logp - logp[: len(row.policy_logp)]).max())
        for row, logp in zip(rows, learners(rows), strict=True)
    ]


@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_tokens_have_the_learners_log_probs(name: str, tmp_path: Path) -> None:
    random_model(name, SAMPLED[name]).save_pretrained(tmp_path)
    module = build_module(str(tmp_path))

    def learners(rows: list[Row]) -> np.ndarray:
        batch = {column: torch.from_numpy(values) for column, values in columns_of(rows).items()}
        with torch.no_grad():
            return module.forward_train(batch)[Columns.POLICY_LOGP].numpy()

    # The first prompt is longer than every window and chunk, the last shorter than every convolution.
    assert max(differences(module.model, prompts_of(13, 6, 6, 1), learners)) < TOLERANCE


@pytest.mark.process
@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_be_sampled_are_refused_by_name(name: str, tmp_path: Path) -> None:
    settings, complaint = REFUSED[name]
    model = random_model(name, settings)
    model.save_pretrained(tmp_path)
    load_tokenizer("embedded").save_pretrained(tmp_path)
    for use in (lambda: check_model(str(tmp_path)), lambda: TransformersEngine(model)):
        with pytest.raises(ModelError, match=complaint) as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("failure", ["raises", "forgets"])
def test_a_cache_that_loses_its_state_is_noticed(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def reorder(self: DynamicCache, rows: torch.Tensor) -> None:
        if failure == "raises":
            raise NotImplementedError("no")
        for layer in self.layers:
            layer.keys, layer.values = torch.zeros_like(layer.keys[rows]), torch.zeros_like(layer.values[rows])

    monkeypatch.setattr(DynamicCache, "reorder_cache", reorder)
    complaint = "NotImplementedError: no" if failure == "raises" else "log-probs that are off by"
    with pytest.raises(ModelError, match=f"type 'llama' cannot be sampled from here: .*{complaint}"):
        TransformersEngine(load_model("embedded"))
