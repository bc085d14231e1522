"""Killed at any moment and resumed, a run ends as one that was left alone: bit for bit.

One kill runs always, nineteen more with `make test-slow`.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.support.command import aepo, records, weights_hash, without_times

pytestmark = pytest.mark.process

KILLS, KILLS_EACH_TIME = 20, 1
STEPS = 8
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


@pytest.mark.slow
def test_a_finished_run_has_nothing_left(left_alone, tmp_path):
    whole, _ = left_alone
    run = tmp_path / "again"
    shutil.copytree(whole, run)
    result = aepo("train", "--resume", run)
    assert result.returncode == 0, result.stdout + result.stderr
    assert records(run) == records(whole)
    assert weights_hash(run) == weights_hash(whole)
