"""Bad input gives one clear line and exit code 2, before anything expensive."""

import json
import shutil
import sys
from collections import namedtuple

import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

from aepo_rllib.cli.main import cli
from aepo_rllib.models.hf import resolve_model


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def refused(result, *parts):
    assert result.exit_code == 2, result.output
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error:"), result.output
    for part in parts:
        assert part in last
    assert "Traceback" not in result.output


@pytest.fixture
def model_without_eos(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(resolve_model("embedded"), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    return folder


def test_bad_values_are_refused_by_name(tmp_path):
    refused(run("train", "--dry-run", "--model", tmp_path / "nowhere"), "cannot read", "nowhere")
    refused(run("train", "--dry-run", "--target-entropy", "-0.1"), "-0.1", "nats per token above 0")
    refused(run("train", "--dry-run", "--group-size", "1"), "group_size=1", "at least 2")
    refused(run("train", "--dry-run", "--set", "temperature_low=1.5"), "temperature_low=1.5", "temperature_high=1.6")
    refused(run("train", "--dry-run", "--num-env-runners", "4096"), "num_env_runners=4096", "CPUs")
    refused(run("train", "--dry-run", "--set", "target_entrpy=1"), "target_entrpy", "did you mean target_entropy")
    refused(run("train", "--dry-run", "--set", "lr"), "'lr'", "key=value")
    refused(run("train", "--dry-run", "--algo", "ppo"), "unknown algo 'ppo'", "grpo")
    refused(run("train", "--dry-run", "--steps", "0"), "steps=0")
    refused(run("train", "--dry-run", "--algo", "grpo", "--target-entropy", "0.5"), "target_entropy")


def test_tokenizer_without_eos(model_without_eos):
    refused(run("train", "--dry-run", "--model", model_without_eos), "no EOS token")


def test_problem_files(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    refused(run("train", "--dry-run", "--problems", empty), "empty.jsonl", "no problems")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"problem": "1+1?", "answer": "2"}\n{"problem": "2+2?"}\n')
    refused(run("train", "--dry-run", "--problems", broken), "broken.jsonl:2", "no answer")
    refused(run("train", "--dry-run", "--problems", tmp_path / "absent.jsonl"), "absent.jsonl")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("algo: aepo\nlr: ]", "config.yaml:2"),
        ("lr: 1e-3\nlr: 1e-4", "twice"),
        ("- a\n- b", "mapping"),
        ("x: !!python/object/apply:os.system ['touch hacked']", "config.yaml:1"),
        ("a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]", "unknown config key"),
    ],
)
def test_broken_yaml_names_file_and_line(tmp_path, text, part):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    refused(run("train", "--dry-run", "--config", file), part)


def test_output_folders(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    refused(run("train", "--output", tmp_path / "full"), "not empty", "--resume")
    (tmp_path / "file").write_text("")
    refused(run("train", "--output", tmp_path / "file" / "run"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1_000_000))
    refused(run("train", "--output", tmp_path / "run"), "1 MB free", "needs")
    assert not (tmp_path / "run").exists()


def test_resume_refuses_what_is_no_run_and_other_settings(tmp_path):
    refused(run("train", "--resume", tmp_path), "no run directory")
    dry = run("train", "--dry-run")
    assert dry.exit_code == 0
    (tmp_path / "config.yaml").write_text("".join(line + "\n" for line in dry.stdout.splitlines()[1:]))
    refused(run("train", "--resume", tmp_path, "--set", "lr=0.1"), "lr (was 0.0006, now 0.1)")
    text = (tmp_path / "config.yaml").read_text()
    fingerprint = next(line for line in text.splitlines() if line.startswith("model_sha256"))
    (tmp_path / "config.yaml").write_text(text.replace(fingerprint, "model_sha256: abc"))
    refused(run("train", "--resume", tmp_path), "model_sha256")


def test_export_of_nothing(tmp_path):
    refused(run("export", tmp_path, tmp_path / "out"), "nor a run with an exported one")


def test_dry_run_prints_a_configuration_that_reads_back(tmp_path):
    import yaml

    settings = ("alpha=2", "lr=1e-6", "evaluation_interval=null")
    assignments = [part for setting in settings for part in ("--set", setting)]
    first = run("train", "--dry-run", *assignments, "--target-entropy", "0.75x")
    assert first.exit_code == 0, first.output
    text = "\n".join(first.stdout.splitlines()[1:])
    values = yaml.safe_load(text)
    assert (values["alpha"], values["lr"]) == (2, 1e-6)
    assert values["target_entropy"] == "0.75x"
    assert values["evaluation_interval"] is None  # RLlib's default, but not ours
    file = tmp_path / "config.yaml"
    file.write_text(text)
    second = run("train", "--dry-run", "--config", file)
    assert "\n".join(second.stdout.splitlines()[1:]) == text


def test_samples_are_json(tmp_path):
    from aepo_rllib.cli.run_folder import RunFolder

    folder = RunFolder(tmp_path)
    folder.append("x.jsonl", {"step": 1, "text": "é\n"})
    folder.append("x.jsonl", {"step": 2, "text": ""})
    with (tmp_path / "x.jsonl").open("a") as file:
        file.write('{"step": 3, "te')  # a torn line
    assert [record["step"] for record in folder.read("x.jsonl")] == [1, 2]
    folder.cut("x.jsonl", 1)
    assert json.loads((tmp_path / "x.jsonl").read_text())["text"] == "é\n"


@pytest.mark.process
def test_python_is_not_asked_for_torch_by_help():
    import subprocess

    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom aepo_rllib.cli.main import cli\n"
        "result = CliRunner().invoke(cli, sys.argv[1:])\nassert result.exit_code == 0, result.output\n"
        "print([m for m in ('torch', 'ray', 'transformers', 'lm_eval') if m in sys.modules])"
    )
    for arguments in (
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["eval", "--help"],
        ["tasks"],
        ["pretrain", "-h"],
    ):
        result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert result.stdout.strip() == "[]", (arguments, result.stdout, result.stderr)
