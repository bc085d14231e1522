"""A model is what its files say, or it is refused by name: nothing is made up, rounded or left out in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from aepo_rllib.cli.main import cli
from aepo_rllib.models.hf import (
    ModelError,
    check_model,
    load_model,
    load_tokenizer,
    resolve_model,
    stop_ids,
)
from aepo_rllib.rollout import make_engine
from tests.support.modules import build_module

NORM, DOWN = "model.layers.0.input_layernorm.weight", "model.layers.0.mlp.down_proj.weight"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(resolve_model("embedded"), folder)
    return folder


def change_json(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **values}))


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "config.json", **values)


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        changed = change(tensors)
        save_file(changed if isinstance(changed, dict) else tensors, folder / "model.safetensors", {"format": "pt"})

    return apply


def content(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def index(shard: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
        names = load_file(folder.parent / "model.safetensors")
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)})
        )

    return apply


def both(folder: Path) -> None:
    names = load_file(folder / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict.fromkeys(names, "a.safetensors")})
    )


def twice(folder: Path) -> None:
    both(folder)
    shutil.copy(folder / "model.safetensors", folder / "a.safetensors")
    (folder / "model.safetensors").rename(folder / "b.safetensors")
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": places | {NORM: "b.safetensors"}}))


def generation(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "generation_config.json", **values)


REFUSED = {
    "a missing tensor": (weights(lambda t: t.pop(NORM)), "missing", NORM),
    "no tensor at all": (weights(lambda t: t.clear()), "hold 0 numbers"),
    "another prefix": (weights(lambda t: {f"foo.{name}": tensor for name, tensor in t.items()}), "missing", "and 27"),
    "a tensor too many": (weights(lambda t: t.update(extra=torch.zeros(4))), "of no use", "extra"),
    "another shape": (
        weights(lambda t: t.update({DOWN: t[DOWN][:-1].clone()})),
        DOWN,
        "[95, 256] instead of [96, 256]",
    ),
    "whole numbers": (weights(lambda t: t.update({DOWN: t[DOWN].to(torch.int8)})), DOWN, "stored as I8"),
    "eight bits": (weights(lambda t: t.update({DOWN: t[DOWN].to(torch.float8_e4m3fn)})), DOWN, "stored as F8_E4M3"),
    "cut weights": (cut, "model.safetensors is cut or damaged"),
    "empty weights": (content("model.safetensors", b""), "model.safetensors is cut or damaged"),
    "a shard elsewhere": (
        index("../model.safetensors"),
        "'../model.safetensors'",
        "no safetensors file of this folder",
    ),
    "a lost shard": (index("model-00001-of-00002.safetensors"), "model-00001-of-00002.safetensors is missing"),
    "two sets of weights": (both, "both model.safetensors and model.safetensors.index.json"),
    "a tensor in two shards": (twice, "stands in two files", "b.safetensors is the second"),
    "no end that is a token": (generation(eos_token_id=10**9), "generation_config.json", "eos_token_id=1000000000"),
    "an adapter": (content("adapter_config.json", b"{}"), "adapter"),
    "quantised": (config(quantization_config={"quant_method": "awq"}), "quantised (awq)"),
    "config of another size": (config(vocab_size=80), "[75, 96] instead of [80, 96]"),
    "a huge vocabulary": (config(vocab_size=2_000_000_000), "vocab_size=2000000000", "hold 339648 numbers"),
    "many layers": (config(num_hidden_layers=100_000), "num_hidden_layers=100000", "29 tensors"),
    "a huge context": (config(max_position_embeddings=10**15), "max_position_embeddings=1000000000000000"),
    "a negative size": (config(vocab_size=-1), "vocab_size=-1"),
    "a size in words": (config(hidden_size="x"), "hidden_size"),
    "a list for a config": (content("config.json", b"[]"), "model"),
    "half a config": (content("config.json", b'{"a":'), "config.json"),
    "nested too deeply": (content("config.json", b'{"a":' * 100_000), "model"),
    "a large config": (content("config.json", b" " * 10_000_001), "config.json is larger than"),
}
"""What becomes of a folder, and parts of the message."""


@pytest.mark.parametrize("case", REFUSED)
def test_wherever_a_model_is_taken_it_is_refused_by_name(model, case):
    damage, *parts = REFUSED[case]
    damage(model)
    takers = {
        "before a run": lambda: check_model(str(model)),
        "a learner": lambda: build_module(str(model)),
        "the Transformers engine": lambda: make_engine("transformers", str(model)),
        "vLLM, before it starts": lambda: load_model(str(model), device="meta"),
    }
    if case == "no end that is a token":
        takers = {"before a run": takers["before a run"]}  # the others sample nothing
    for taker, take in takers.items():
        with pytest.raises(ModelError) as caught:
            take()
        assert "\n" not in str(caught.value), taker
        for part in (*parts, str(model)):
            assert part in str(caught.value), taker


@pytest.mark.parametrize("command", [["train", "--dry-run", "--model"], ["eval"], ["doctor"]])
def test_commands_refuse_it_in_one_line(model, command):
    REFUSED["another prefix"][0](model)
    result = CliRunner().invoke(cli, [*command, str(model)])
    assert result.exit_code == 2, result.output
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error: cannot read model")
    assert NORM in last


def test_a_head_that_the_config_denies_is_refused(model):
    weights(lambda t: t.update({"lm_head.weight": torch.zeros(75, 96)}))(model)
    with pytest.raises(ModelError, match="tie_word_embeddings"):
        load_model(str(model))


def test_a_tied_head_may_be_stored_or_not(model):
    weights(lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))(model)
    assert check_model(str(model)) == 512
    assert load_model(str(model)).num_parameters() == load_model("embedded").num_parameters()


def test_other_floats_and_a_missing_prefix_are_what_transformers_loads(model):
    halves = weights(lambda t: {name.removeprefix("model."): tensor.bfloat16() for name, tensor in t.items()})
    halves(model)
    wanted = load_model("embedded").state_dict()
    for name, tensor in load_model(str(model)).state_dict().items():
        assert torch.equal(tensor, wanted[name].bfloat16().float()), name


@pytest.mark.parametrize(
    "tokenizer_change",
    [lambda vocabulary: vocabulary.update({"~beyond~": 75}), lambda vocabulary: vocabulary.update({"~far~": 10_000})],
)
def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(model, tokenizer_change):
    file = model / "tokenizer.json"
    content = json.loads(file.read_text())
    tokenizer_change(content["model"]["vocab"])
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"tokens up to id \d+, but the model knows only 75"):
        check_model(str(model))


def test_a_tokenizer_of_millions_of_tokens_is_not_even_read(model):
    (model / "tokenizer.json").write_bytes(b" " * 11_000_000)
    with pytest.raises(ModelError, match=r"tokenizer\.json has 11000000 bytes"):
        load_tokenizer(str(model))


def test_end_ids_count_wherever_they_stand(model):
    """As in transformers' own `generate`, which reads config.json where there is no generation_config.json."""
    tokenizer = load_tokenizer(str(model))
    config(eos_token_id=[5, 6])(model)
    change_json(model / "generation_config.json", eos_token_id=7)
    assert stop_ids(str(model), tokenizer) == sorted({5, 6, 7, tokenizer.eos_token_id})
    (model / "generation_config.json").unlink()
    assert stop_ids(str(model), tokenizer) == sorted({5, 6, tokenizer.eos_token_id})


@pytest.mark.parametrize("end", [75, -1, "abc", True, [1, 10**9], [[1]], 1.5])
@pytest.mark.parametrize("place", ["config.json", "generation_config.json"])
def test_end_ids_that_are_no_tokens_are_refused(model, place, end):
    change_json(model / place, eos_token_id=end)
    with pytest.raises(ModelError) as caught:
        stop_ids(str(model), load_tokenizer("embedded"))
    assert "eos_token_id" in str(caught.value)


def test_a_damaged_generation_config_is_refused(model):
    (model / "generation_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"cannot read generation_config\.json"):
        stop_ids(str(model), load_tokenizer("embedded"))
