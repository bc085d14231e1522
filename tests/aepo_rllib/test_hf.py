"""Model folders are data: pickled weights are refused, and code inside them never runs."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from aepo_rllib.models.export import write_huggingface
from aepo_rllib.models.hf import ModelError, check_model, load_model, load_tokenizer, resolve_model, stop_ids


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(resolve_model("embedded"), folder)
    return folder


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_pickled_weights_are_refused_without_being_opened(model, tmp_path):
    marker = tmp_path / "marker"
    (model / "model.safetensors").unlink()
    torch.save({"weight": Payload(marker)}, model / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot read model"):
        load_model(str(model))
    assert not marker.exists()


def test_code_in_a_model_folder_does_not_run(model, tmp_path):
    marker = tmp_path / "marker"
    (model / "modeling_evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    config = json.loads((model / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "modeling_evil.Evil"),
    }
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        check_model(str(model))
    with pytest.raises(ModelError):
        load_model(str(model))
    assert not marker.exists()


def test_all_eos_ids_of_the_generation_config_stop(model):
    tokenizer = load_tokenizer(str(model))
    assert stop_ids(str(model), tokenizer) == [tokenizer.eos_token_id]
    generation = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [7, 9]}))
    assert stop_ids(str(model), tokenizer) == sorted({7, 9, tokenizer.eos_token_id})
    (model / "generation_config.json").unlink()
    assert stop_ids(str(model), tokenizer) == [tokenizer.eos_token_id]


@pytest.mark.parametrize("ids", [[1, 2], 2, None])
def test_stop_ids_without_a_generation_config_are_those_of_transformers_generate(model, ids):
    (model / "generation_config.json").unlink()
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"eos_token_id": ids}))
    generates = AutoModelForCausalLM.from_pretrained(model).generation_config.eos_token_id
    theirs = set(generates if isinstance(generates, list) else [generates]) - {None}
    assert set(stop_ids(str(model), load_tokenizer(str(model)))) == theirs | {1}


def test_a_tokenizer_of_more_tokens_than_the_model_is_refused_with_both_sizes(model):
    tokenizer = load_tokenizer(str(model))
    tokenizer.add_tokens([f"word{number}" for number in range(25)])
    tokenizer.save_pretrained(model)
    for use in (load_tokenizer, check_model):
        with pytest.raises(ModelError, match="tokens up to id 99, but the model knows only 75; take the tokenizer"):
            use(str(model))


def test_exported_weights_come_back(tmp_path):
    state = {name: tensor + 0.25 for name, tensor in load_model("embedded").state_dict().items()}
    write_huggingface("embedded", state, tmp_path / "out", info={"step": 3})
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert json.loads((tmp_path / "out" / "aepo.json").read_text()) == {"step": 3}
