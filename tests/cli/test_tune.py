"""A search runs as trials of Ray Tune, outlives a kill, and ends with a table, a plot and the best model."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.support.command import children, here, records, weights_hash, without_times

SMALL = ["--batch-size", 4, "--group-size", 4, "--metric", "main/reward_mean", "--window", 2, "--jobs", 1]
SMALL += ["--set", "evaluation_interval=null", "--set", "checkpoint_every=1"]


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a search but for locks, Tune's own, and the copy of the best model, which is made anew."""
    files = [file for file in root.rglob("*") if file.is_file() and not file.name.startswith(".")]
    parts = {str(file.relative_to(root)): file for file in files}
    return {name: file.read_bytes() for name, file in parts.items() if not name.startswith((".tune", "best"))}


def test_a_search_ends_with_its_best_model_and_the_same_command_again_trains_nothing(
    ray_cluster: None, tmp_path: Path
) -> None:
    command = ["tune", "--space", "lr=grid(1e-9, 1e-2)", "--search", "grid", *SMALL, "-o", tmp_path, "--steps"]
    output = here(*command, 2)
    table = pd.read_csv(tmp_path / "trials.csv").set_index("trial")
    told = json.loads((tmp_path / "trials.json").read_text())
    for name, lr in (("trial-001", 1e-9), ("trial-002", 1e-2)):
        logged = records(tmp_path / name)
        assert [record["learner/default_optimizer_learning_rate"] for record in logged] == pytest.approx([lr, lr])
        rewards = [record["main/reward_mean"] for record in logged]
        assert table.loc[name, "main/reward_mean"] == pytest.approx(sum(rewards) / 2, rel=1e-5)
        assert table.loc[name, ["lr", "steps", "state"]].tolist() == [lr, 2, "finished"]
    assert table["main/reward_mean"].idxmax() == told["best"] == table.index[0]
    assert list(pd.read_parquet(tmp_path / "trials.parquet").trial) == list(table.index)
    assert (tmp_path / "trials.png").read_bytes().startswith(b"\x89PNG")
    best = tmp_path / "best"
    assert (best / "model.safetensors").read_bytes() == (
        tmp_path / told["best"] / "huggingface" / "model.safetensors"
    ).read_bytes()
    dry = here("train", "--config", best / "config.yaml", "--dry-run")
    assert yaml.safe_load(dry[dry.index("algo:") :])["lr"] == table.lr.iloc[0]
    assert f"best: {told['best']}" in output

    before = contents(tmp_path)
    assert "2 of 2 trials have ended before" in here(*command, 2)
    assert contents(tmp_path) == before
    changed = here(*command, 3, code=2)
    assert "holds a search with settings.steps=2, and now it is 3" in changed
    assert contents(tmp_path) == before


def killed_and_gone_on_with(folder: Path, arguments: list[Any], enough: Callable[[], bool]) -> str:
    """Kill a search as a whole, Ray and the trials included, as soon as it has come so far; then do it again."""
    command = [sys.executable, "-m", "aepo_rllib.cli.main", "tune", *map(str, arguments), "-o", str(folder)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 500
    while not enough():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for pid in [process.pid, *children(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def steps_of(run: Path) -> int:
    file = run / "metrics.jsonl"
    return len(file.read_bytes().splitlines()) if file.is_file() else 0


@pytest.mark.slow
@pytest.mark.process
def test_a_search_with_asha_that_was_killed_as_a_whole_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """Killed when one trial has ended and the second has begun; compared with a search that was left alone."""
    arguments = [
        "--space",
        "lr=loguniform(1e-4, 2e-3)",
        "--space",
        "target_entropy=choice(0.5x, 0.75x)",
        "--samples",
        4,
    ]
    arguments += ["--scheduler", "asha", "--grace-period", 2, "--reduction-factor", 2, "--steps", 5, *SMALL]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    output = killed_and_gone_on_with(killed, arguments, lambda: steps_of(killed / "trial-002") >= 3)
    assert "1 of 4 trials have ended before" in output
    assert "resuming after step" in (killed / "trial-002.log").read_text()
    alone = [sys.executable, "-m", "aepo_rllib.cli.main", "tune", *map(str, arguments), "-o", str(whole)]
    subprocess.run(alone, capture_output=True, timeout=600, check=True)
    assert (killed / "trials.csv").read_text() == (whole / "trials.csv").read_text()
    assert set(pd.read_csv(whole / "trials.csv").state) == {"finished", "stopped"}
    for run in sorted(whole.glob("trial-00?")):
        ours = killed / run.name
        assert list(map(without_times, records(ours))) == list(map(without_times, records(run)))
        assert weights_hash(ours) == weights_hash(run)


@pytest.mark.slow
@pytest.mark.process
def test_a_population_that_was_killed_goes_on_and_copies_have_their_own_values(tmp_path: Path) -> None:
    """Killed in the second generation, when the copy has begun."""
    arguments = ["--space", "lr=loguniform(1e-4, 2e-3)", "--scheduler", "pbt", "--perturbation-interval", 2]
    arguments += ["--steps", 4, "--samples", 4, *SMALL]
    folder = tmp_path / "out"
    killed_and_gone_on_with(folder, arguments, lambda: steps_of(folder / "trial-005") >= 3)
    [first, second] = json.loads((folder / "population.json").read_text())
    [ended] = {*first} - {*second}
    told = {row["trial"]: row for row in json.loads((folder / "trials.json").read_text())["trials"]}
    assert told[ended]["state"] == "replaced"
    assert [told[name]["state"] for name in second] == ["finished"] * 4
    after_two = {name: sum(record["main/reward_mean"] for record in records(folder / name)[:2]) for name in first}
    parent = told["trial-005"]["parent"]
    assert after_two[parent] == max(after_two.values())
    assert after_two[ended] == min(after_two.values())
    ours, theirs = records(folder / "trial-005"), records(folder / parent)
    assert ours[:2] == theirs[:2]
    rates = [record["learner/default_optimizer_learning_rate"] for record in ours]
    assert rates[:2] == [record["learner/default_optimizer_learning_rate"] for record in theirs[:2]]
    assert rates[2:] == pytest.approx([told["trial-005"]["parameters"]["lr"]] * 2)
    assert rates[2] != rates[1]
