"""Killed at any moment and resumed, a run ends as one that was left alone: bit for bit.

Three kills run always, seventeen more with `make test-slow`.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from test_train import aepo, records, weights_hash, without_times

KILLS, KILLS_EACH_TIME = 20, 3
STEPS = 12
OPTIONS = ["--steps", STEPS, "--batch-size", 8, "--group-size", 4, "--seed", 7, "--set", "checkpoint_every=1"]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """A run, and the seconds it took."""
    run = tmp_path_factory.mktemp("kills") / "whole"
    started = time.monotonic()
    result = aepo("train", "--output", run, *OPTIONS)
    assert result.returncode == 0, result.stdout + result.stderr
    return run, time.monotonic() - started


@pytest.mark.parametrize(
    "kill", [pytest.param(n, marks=[pytest.mark.slow] if n >= KILLS_EACH_TIME else []) for n in range(KILLS)]
)
def test_a_killed_run_ends_as_one_that_was_left_alone(left_alone, tmp_path, kill):
    whole, seconds = left_alone
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "aepo_rllib.cli.main", "train", "--output", str(run), *map(str, OPTIONS)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # The first part of a run is imports; most kills shall meet a step, a checkpoint or the end.
    time.sleep(random.Random(kill).uniform(0.4, 1.0) * seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = ["--resume", run] if (run / "config.yaml").is_file() else ["--output", run, *OPTIONS]
    result = aepo("train", *again)
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(map(without_times, records(run))) == list(map(without_times, records(whole)))
    assert records(run, "samples.jsonl") == records(whole, "samples.jsonl")
    assert weights_hash(run) == weights_hash(whole)
    shutil.rmtree(run)


def problem_ids(run):
    """Ids of the problems of every step."""
    ids = {}
    for sample in records(run, "samples.jsonl"):
        if sample["stream"] == "main":
            ids.setdefault(sample["step"], []).append(sample["problem_id"])
    return ids


def test_resuming_at_the_end_of_an_epoch_skips_and_repeats_no_problem(tmp_path):
    """48 problems, 16 a step: interrupted exactly where an epoch ends, resumed twice, and once with nothing left."""
    file = tmp_path / "sums.jsonl"
    file.write_text(
        "".join(f'{{"problem": "Add {a} {b} 7.", "answer": {a + b + 7}}}\n' for a in range(2, 8) for b in range(2, 10))
    )
    options = ["--algo", "grpo", "--problems", file, "--batch-size", 16, "--group-size", 2, "--seed", 7]
    options += ["--set", "evaluation_interval=null", "--set", "samples_per_step=16", "--set", "max_new_tokens=32"]
    whole, run = tmp_path / "whole", tmp_path / "resumed"
    assert aepo("train", "--output", whole, "--steps", 7, *options).returncode == 0
    assert aepo("train", "--output", run, "--steps", 3, *options).returncode == 0
    for steps in (6, 7, 7):
        result = aepo("train", "--resume", run, "--steps", steps)
        assert result.returncode == 0, result.stdout + result.stderr
        assert records(run)[-1]["step"] == steps
    assert problem_ids(run) == problem_ids(whole)
    assert weights_hash(run) == weights_hash(whole)
    first_epoch = [identifier for step in (1, 2, 3) for identifier in problem_ids(run)[step]]
    assert len(first_epoch) == len(set(first_epoch)) == 48
