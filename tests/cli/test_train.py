"""`aepo train` as a user runs it: a real run, killed, resumed, exported, evaluated."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from aepo_rllib import metrics, metrics_page
from aepo_rllib.cli.main import cli
from aepo_rllib.support.sealed_folder import MANIFEST, verify
from tests.support.command import SMALL, aepo, alive, children, here, records, weights_hash, without_times
from tests.support.told_tracker import LINES

pytestmark = pytest.mark.process

STEPS = 9
SECRETS = {"HF_TOKEN": "hf_CANARYCANARYCANARY", "WANDB_API_KEY": "CANARYwandb"}


def offline(folder):
    """Trackers without a network."""
    store = {"MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    return {"WANDB_MODE": "offline", **store}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    options = ("--track", "mlflow", "--track", "wandb", *SMALL)
    env = os.environ | SECRETS | offline(run.parent)
    result = aepo("train", "--algo", "aepo", "--steps", STEPS, "--output", run, *options, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "loading torch and ray" in result.stderr
    return run, result.stdout


def test_a_run_leaves_everything_it_promises(uninterrupted):
    run, shown = uninterrupted
    assert f"aepo eval {run}" in "".join(shown.split("\n"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["algo"], config["batch_size"], config["target_entropy"]) == ("aepo", 6, "0.75x")
    assert [record["step"] for record in records(run)] == list(range(1, STEPS + 1))
    logged = {key for record in records(run) for key in record} - {"step", "time"}
    documented = {metric.key for metric in metrics_page.DOCUMENTED}
    # Surprisal comes with skip_flat_rows=False, the probe with an engine that has a model of its own, a capped share
    # with importance_cap, the content's with a dial that reads it.
    elsewhere = (metrics.SURPRISAL, metrics.PROBE_LARGEST_GAP, metrics.PROBE_MEAN_GAP, metrics.CAPPED_SHARE)
    of_content = (metrics.CONTENT, metrics.TARGET_CONTENT, metrics.BASE_CONTENT)
    absent = {f"{metrics.UPDATE}/{name}" for name in elsewhere} | {f"{metrics.CONTROL}/{name}" for name in of_content}
    assert logged == documented - absent
    assert "evaluation/pass@1" in records(run)[2]
    assert "evaluation/pass@1" not in records(run)[3]
    samples = records(run, "samples.jsonl")
    assert {sample["stream"] for sample in samples} == {"main", "tempered"}
    assert {sample["verdict"] for sample in samples} <= {"correct", "wrong", "no_answer"}
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step_000008", "step_000009"]
    for plot in ("entropy.png", "reward.png"):
        assert (run / plot).read_bytes().startswith(b"\x89PNG")
    assert f"step {STEPS} of {STEPS}, ended" in (run / "run.html").read_text()
    assert AutoModelForCausalLM.from_pretrained(run / "huggingface").num_parameters() > 300_000


def test_a_log_shows_validation_completions_and_an_end_in_words(uninterrupted):
    run, shown = uninterrupted
    scores = {record["step"]: record["evaluation/pass@1"] for record in records(run) if "evaluation/pass@1" in record}
    assert list(scores) == [3, 6, 9]
    assert "measuring the starting model's entropy" in shown.partition("step 1/")[0]
    for step, score in scores.items():
        assert re.search(rf"step {step}/{STEPS}  .*reward .*entropy .*T .*pass@1 {score:.3f} \(step {step}\)", shown)
    samples = [sample for sample in records(run, "samples.jsonl") if sample["stream"] == "main"]
    for title in ("the starting model", *(f"step {step}" for step in scores)):
        [_, after] = shown.split(f"completions of {title}:\n")
        lines = [line.split(maxsplit=1) for line in after.split("\n")[:6]]
        assert [words[0] for words in lines[::2]] == ["prompt"] * 3
        kept = [sample for sample in samples if title == f"step {sample['step']}"]
        for sample, (_, prompt), (verdict, _) in zip(kept, lines[::2], lines[1::2], strict=False):
            assert (prompt, verdict) == (sample["prompt"], sample["verdict"].partition("_")[0])
    first, *_, last = scores.values()
    assert f"pass@1 went from {first:.3f} to {last:.3f}; the best was {max(scores.values()):.3f}" in shown
    assert "steps (temperature above 1) and down in" in shown
    assert str(run / "run.html") in shown


def test_what_a_dry_run_prints_is_a_configuration(tmp_path):
    runner, file = CliRunner(), tmp_path / "c.yaml"
    asked = ["train", "--steps", "3", "--target-entropy", "0.7", "--dry-run"]
    first = runner.invoke(cli, asked)
    assert "loading torch and ray" in first.stderr
    file.write_text(first.stdout)
    second = runner.invoke(cli, ["train", "--config", str(file), "--dry-run"])
    assert second.exit_code == 0, second.output
    assert yaml.safe_load(second.stdout) == yaml.safe_load(first.stdout)
    assert yaml.safe_load(first.stdout)["target_entropy"] in (0.7, "0.7")


def test_no_secret_of_the_environment_is_in_a_run_folder(uninterrupted):
    run, shown = uninterrupted
    files = [file for file in run.rglob("*") if file.is_file()]
    assert len(files) > 20
    for secret in SECRETS.values():
        assert secret not in shown
        assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_tensorboard_reads_the_run_back(uninterrupted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = uninterrupted
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    shown = [event.value for event in events.Scalars("main/reward_mean")]
    assert shown == pytest.approx([record["main/reward_mean"] for record in records(run)])


def test_trackers_have_the_same(uninterrupted, monkeypatch):
    from mlflow import MlflowClient

    run, _ = uninterrupted
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(offline(run.parent)["MLFLOW_TRACKING_URI"])
    [shown] = client.search_runs([client.get_experiment_by_name("aepo").experiment_id])
    assert (shown.info.run_name, shown.info.status) == ("whole", "FINISHED")
    assert shown.data.params["target_entropy"] == "0.75x"
    rewards = client.get_metric_history(shown.info.run_id, "main/reward_mean")
    assert [each.value for each in rewards] == [record["main/reward_mean"] for record in records(run)]
    assert len(list(run.glob("wandb/offline-run-*/run-*.wandb"))) == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        (signal.SIGHUP, 129),
    ],
)
def test_a_signal_ends_with_a_checkpoint_of_the_last_finished_step(tmp_path, number, code):
    run = tmp_path / "interrupted"
    (tmp_path / "lines.py").write_text(LINES)
    own = ["--set", f'track=["{tmp_path}/lines.py:Lines"]']
    command = [
        sys.executable,
        "-m",
        "aepo_rllib.cli.main",
        "train",
        "--steps",
        "500",
        "--output",
        str(run),
        *SMALL,
        *own,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    while not (run / "metrics.jsonl").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = children(process.pid)
    assert family
    second = aepo("train", "--resume", run)
    assert second.returncode == 2
    assert f"is in use by process {process.pid} on" in second.stderr.replace("\n", " ")
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    assert "aepo train --resume" in output
    last = records(run)[-1]["step"]
    newest = sorted((run / "checkpoints").iterdir())[-1]
    assert newest.name == f"step_{last:06d}"
    verify(newest)
    told = (tmp_path / "told.txt").read_text().splitlines()
    assert [line.split()[-1] for line in told] == [*map(str, range(1, last + 1)), "True"]
    deadline = time.monotonic() + 30
    while any(map(alive, family)):
        assert time.monotonic() < deadline, "an orphan is left"
        time.sleep(0.1)


def test_resume_falls_back_to_the_newest_good_checkpoint_and_says_so(uninterrupted, tmp_path):
    whole, _ = uninterrupted
    run = tmp_path / "damaged"
    shutil.copytree(whole, run)
    newest = run / "checkpoints" / "step_000009"
    weights = next(newest.rglob("module_state.pkl"), None) or next(newest.rglob("*.pkl"))
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :])
    result = aepo("train", "--resume", run, "--set", "track=[]")  # which may be dropped at any time
    assert result.returncode == 0, result.stdout + result.stderr
    shown = " ".join(result.stdout.split())
    assert "step_000009 cannot be used" in shown
    assert "has been changed" in shown
    assert "resuming after step 8" in shown
    assert list(map(without_times, records(run))) == list(map(without_times, records(whole)))
    assert weights_hash(run) == weights_hash(whole)
    for checkpoint in (run / "checkpoints").glob("step_*"):
        (checkpoint / MANIFEST).unlink()
    assert "none of its checkpoints can be used" in " ".join(here("train", "--resume", run, code=2).split())


def test_export_and_eval_of_a_run(uninterrupted, tmp_path):
    run, _ = uninterrupted
    here("export", run, tmp_path / "model")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters() > 300_000
    assert "pass@4" in here("eval", run, "--n", 4, "--limit", 5)
    assert Path(run / "eval" / "passk.json").is_file()


def test_real_problems_with_the_real_verifier(tmp_path):
    """GSM8K rows in their published schema, a random model with a byte-level tokenizer: every row gets a verdict."""
    model, problems = tmp_path / "model", tmp_path / "gsm8k.jsonl"
    rows = [
        {
            "question": "Natalia sold 48 clips in April and half as many in May. How many in all?",
            "answer": "48/2=24\n#### 72",
            "id": "../../named-by-row",
            "family": "../named-by-row",
        },
        {
            "question": "A robe takes 2 bolts of blue fiber and half that much white. How many bolts?",
            "answer": "#### 3",
            "id": str(tmp_path / "named-by-row"),
        },
        {"question": "James runs 3 sprints of 60 m. Meters?", "answer": "#### 180", "id": "a\0named-by-row"},
    ]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    random_model(model, [row["question"] for row in rows])
    settings = ("env_config.template=boxed", "evaluation_interval=null", "max_new_tokens=16")
    result = aepo(
        "train", "--model", model, "--problems", problems, "--steps", 2, "--output", tmp_path / "run", *SMALL[:4],
        *(word for setting in settings for word in ("--set", setting)),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    for record in records(tmp_path / "run"):
        verdicts = sum(value for key, value in record.items() if key.startswith("main/verdict_"))
        assert verdicts == pytest.approx(1)
        assert record["main/verdict_timed_out"] == record["main/verdict_grader_crashed"] == 0
    assert not list(tmp_path.parent.rglob("*named-by-row*")), "a name from the problems became a path"


def random_model(folder, texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<eos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=320, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, tie_word_embeddings=True, eos_token_id=0, max_position_embeddings=512,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
