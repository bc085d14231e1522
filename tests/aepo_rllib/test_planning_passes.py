"""Bytes of a learner's pass: what is counted on two layers is what all have, closed forms, and what a GPU has shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, Qwen2Config

from aepo_rllib.columns import Columns
from aepo_rllib.models.lora import Lora
from aepo_rllib.models.token_scorer import TokenScorer
from aepo_rllib.planning.fake_pass import Work, _count, pass_bytes
from aepo_rllib.planning.live_bytes import LiveBytes
from aepo_rllib.planning.shape import ModelShape
from tests.support.shapes import qwen

MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu_h200.json"
LORA = Lora(8, 16)


def whole(shape: ModelShape, work: Work) -> tuple[int, int]:
    """Bytes kept and at the peak, with every layer and every row."""
    stages = {stage: int(trace.max()) for stage, trace in _count(shape, work, len(shape.layers)).items()}
    return stages["kept"], max(stages.values())


def slow(*values: Any) -> Any:
    """A case for `pytest -m slow`."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "work",
    [
        Work(1, 1, 20, 300),
        Work(37, 8, 200, 300, "bfloat16"),
        slow(Work(37, 8, 200, 300, "bfloat16", checkpoint=True)),
        slow(Work(37, 8, 200, 300, "bfloat16", sharded=True)),
        Work(37, 8, 200, 300, "bfloat16", sharded=True, checkpoint=True),
        slow(Work(12, 3, 900, 300, "float32", checkpoint=True)),
        Work(12, 3, 200, 300, "bfloat16", share_prompts=False),
        slow(Work(12, 3, 200, 300, "bfloat16", share_prompts=False, checkpoint=True)),
        slow(Work(12, 3, 200, 300, "bfloat16", lora=LORA)),
        Work(12, 3, 200, 300, "bfloat16", lora=LORA, checkpoint=True, sharded=True),
        Work(12, 3, 200, 300, "bfloat16", attention="flash_attention_2"),
        Work(12, 3, 200, 300, "bfloat16", attention="eager", entropy=True),
        Work(12, 3, 20, 40, "bfloat16"),
    ],
    ids=str,
)
def test_few_layers_and_rows_tell_what_all_need(work: Work) -> None:
    shape = ModelShape(qwen("0.5b", num_hidden_layers=5))
    assert tuple(pass_bytes(shape, work)) == pytest.approx(whole(shape, work), rel=1e-3)


@pytest.mark.parametrize("checkpoint", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("share_prompts", [True, False], ids=["shared", "padded"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_real_pass_of_the_scorer_has_as_many_bytes_alive(dtype: str, share_prompts: bool, checkpoint: bool) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 4, "vocab_size": 3000}
    shape = ModelShape(qwen("0.5b", num_hidden_layers=5, **sizes))
    work = Work(8, 2, 60, 200, dtype, share_prompts=share_prompts, checkpoint=checkpoint)
    model = shape.empty(dtype=work.weights, attn_implementation="sdpa").eval()
    scorer = TokenScorer(model, half=work.half, share_prompts=share_prompts, checkpoint=checkpoint)
    assert scorer.share_prompts == share_prompts
    assert scorer.head_is_linear
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    live = LiveBytes(model.parameters())
    batch = rows_of(work)
    with live:
        scorer(batch, reads=())[Columns.POLICY_LOGP].sum().backward()
    peak = max(max(trace) for trace in live.traces.values())
    assert pass_bytes(shape, work).peak == pytest.approx(peak, rel=0.03)


def rows_of(work: Work) -> dict[str, torch.Tensor]:
    """Rows of a pass; one token of a prompt and of a completion is padding, so that there is a mask."""
    index = torch.arange(work.rows) * work.prompts // work.rows
    prompt_mask = torch.ones(work.rows, work.prompt_tokens, dtype=torch.bool)
    prompt_mask[index == 0, 0] = False
    completion_mask = torch.ones(work.rows, work.completion_tokens, dtype=torch.bool)
    completion_mask[0, -1] = False
    return {
        Columns.PROMPT_IDS: torch.ones(work.rows, work.prompt_tokens, dtype=torch.long),
        Columns.PROMPT_MASK: prompt_mask,
        Columns.COMPLETION_IDS: torch.ones(work.rows, work.completion_tokens, dtype=torch.long),
        Columns.COMPLETION_MASK: completion_mask,
        Columns.PROMPT_INDEX: index,
    }


def test_layers_that_differ_are_all_counted() -> None:
    kinds = ["full_attention", "sliding_attention"] * 3
    config = qwen("0.5b", num_hidden_layers=6, use_sliding_window=True, sliding_window=64, layer_types=kinds)
    shape, work = ModelShape(config), Work(4, 2, 100, 200)
    assert not shape.layers_are_alike
    assert tuple(pass_bytes(shape, work)) == whole(shape, work)


def test_a_model_of_another_kind_is_counted_too() -> None:
    shape = ModelShape(GPT2Config(n_layer=4, n_embd=64, n_head=4))
    assert shape.parameters == (50257 + 1024) * 64 + 4 * (12 * 64 * 64 + 13 * 64) + 2 * 64
    assert tuple(pass_bytes(shape, Work(6, 2, 50, 400))) == pytest.approx(whole(shape, Work(6, 2, 50, 400)), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "rows"), [("0.5b", 8), ("7b", 1), *(slow(name, 8) for name in ("1.5b", "3b", "7b", "32b"))]
)
def test_layers_keep_8_intermediate_and_37_hidden_bytes_a_token(name: str, rows: int) -> None:
    config, prompt, length = qwen(name), 200, 2048
    shape = ModelShape(config)
    work = Work(rows, 1, prompt, length, "bfloat16")
    a_token = 8 * config.intermediate_size + 37 * config.hidden_size
    pairs = rows * (length - 1) * (prompt + length - 1) + prompt**2  # a mask for all layers, 2 bytes a pair
    expected = config.num_hidden_layers * (rows * length + prompt) * a_token + 2 * pairs
    copies = 2 * sum(shape.layers)
    assert pass_bytes(shape, work).kept - copies == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", ["0.5b", "7b"])
def test_recomputed_layers_keep_a_float32_hidden_state_each(name: str) -> None:
    config = qwen(name)
    shape, work = ModelShape(config), Work(8, 1, 200, 2048, "bfloat16", share_prompts=False, checkpoint=True)
    states = pass_bytes(shape, work).kept / (8 * 2248 * config.hidden_size * 4)
    assert config.num_hidden_layers <= states <= config.num_hidden_layers + 5


@pytest.mark.parametrize("name", ["0.5b", "1.5b"])
def test_a_gpu_kept_as_many_bytes_as_are_counted(name: str) -> None:
    shape = ModelShape(qwen(name))
    four, eight = (pass_bytes(shape, Work(n, 1, 256, 512, "bfloat16", share_prompts=False)).kept for n in (4, 8))
    measured = next(row for row in section(f"activations {name}") if row["what"].startswith("kept by the layers"))
    assert (eight - four) / 4 / 768 == pytest.approx(measured["bytes/token"], rel=0.02)
    adamw = {row["AdamW peak GiB"] for row in section(f"learner {name}")}
    assert 20 * shape.parameters / 2**30 == pytest.approx(max(adamw), rel=0.02)


def section(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(MEASURED.read_text())["sections"][name]["rows"]
    return rows


@pytest.mark.parametrize(
    ("name", "parameters"), [("0.5b", 494_032_768), ("1.5b", 1_543_714_304), ("7b", 7_615_616_512)]
)
def test_parameters_are_those_of_the_hub(name: str, parameters: int) -> None:
    """As the model cards' safetensors say."""
    shape = ModelShape(qwen(name))
    assert shape.parameters == parameters
    config: Qwen2Config = shape.config
    embeddings = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    assert shape.rest == embeddings + config.hidden_size
    a_map = 2 * config.hidden_size + config.intermediate_size
    narrow = config.num_key_value_heads * config.head_dim if hasattr(config, "head_dim") else None
    narrow = narrow or config.hidden_size * config.num_key_value_heads // config.num_attention_heads
    ends = 4 * config.hidden_size + 2 * (config.hidden_size + narrow) + 3 * (a_map - config.hidden_size)
    assert shape.adapters(Lora(32, 64)) == 32 * config.num_hidden_layers * ends
