"""`aepo doctor` finds the embedded model well, and notices what breaks it."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, Lfm2Config, RwkvConfig

from aepo_rllib.cli.main import cli
from aepo_rllib.doctor import agreement as doctor
from aepo_rllib.learning import learner
from aepo_rllib.models.hf import load_tokenizer


def test_the_embedded_model_is_well():
    result = CliRunner().invoke(cli, ["doctor", "--max-new-tokens", "32"])
    assert result.exit_code == 0, result.output
    assert result.output.count(" ok ") == 4


def test_rows_that_get_lost_between_passes_are_noticed(monkeypatch):
    passes = learner.passes_in
    monkeypatch.setattr(learner, "passes_in", lambda batch: passes(batch)[:2])  # a third pass never runs
    findings = list(doctor.examine("embedded", max_new_tokens=32))
    assert [finding.fine for finding in findings] == [True, False, False, False]


def test_weights_that_forget_the_number_of_learners_are_noticed(monkeypatch):
    deal = doctor.deal

    def forgetful(*args, learners, **kwargs):
        [shares] = deal(*args, learners=learners, **kwargs)
        return [[[replace(row, weights=[w / learners for w in row.weights]) for row in rows] for rows in shares]]

    monkeypatch.setattr(doctor, "deal", forgetful)
    findings = list(doctor.examine("embedded", max_new_tokens=32))
    assert [finding.fine for finding in findings] == [True, True, False, False]


def examine_random(config, folder):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    load_tokenizer("embedded").save_pretrained(folder)
    return CliRunner().invoke(cli, ["doctor", str(folder), "--max-new-tokens", "8"])


def test_a_hybrid_model_is_well(tmp_path):
    layers = ["conv", "full_attention"]
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 2}
    result = examine_random(Lfm2Config(vocab_size=80, layer_types=layers, num_hidden_layers=2, **sizes), tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.count(" ok ") == 4


@pytest.mark.process  # transformers asks for a compiler
def test_a_model_that_cannot_be_sampled_is_refused_before_it_starts(tmp_path):
    result = examine_random(RwkvConfig(vocab_size=80, hidden_size=32, num_hidden_layers=2), tmp_path)
    assert result.exit_code == 2
    assert "models of type 'rwkv' cannot be sampled from here" in " ".join(result.output.split())


def test_bad_input_is_refused():
    for arguments, message in (
        (["/nowhere"], "cannot read"),
        (["--problems", "nowhere"], "no problems called"),
        (["--max-new-tokens", "4096"], "leaves no room for a prompt"),
    ):
        result = CliRunner().invoke(cli, ["doctor", *arguments])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


def test_nan_is_not_fine():
    assert not doctor.Finding("check", float("nan"), 1.0).fine
    assert doctor.Finding("check", 0.5, 0.5).fine
