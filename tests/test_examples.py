"""The examples run as they stand, with fewer steps."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial

from aepo_rllib import metrics, tune_reporter

pytestmark = pytest.mark.process

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("train_from_python.py", "339,648 parameters"),
        # Its search is what tests/aepo_rllib/test_tune.py runs.
        pytest.param("tune_target_entropy.py", "target 0.75x: entropy", marks=pytest.mark.slow),
    ],
)
def test_example(name, shown, tmp_path):
    command = [sys.executable, str(EXAMPLES / name), "--steps", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert shown in result.stdout


def test_the_example_with_rllibs_arguments_trains_and_validates(ray_cluster, capsys):
    example = runpy.run_path(str(EXAMPLES / "countdown_aepo.py"))
    given = ["--no-tune", "--stop-iters=1", "--evaluation-interval=1", "--evaluation-duration=16"]
    results = example["run"](example["parser"]().parse_args(given), keep_ray_up=True)
    assert results["training_iteration"] == 1
    assert results["main"]["exact_entropy"] == pytest.approx(0.86, abs=0.05)  # the embedded model's on these problems
    reward = results["evaluation"]["env_runners"]["episode_return_mean"]
    assert reward * 16 == int(reward * 16)
    assert "iter=0 R=" in capsys.readouterr().out


@pytest.mark.slow
def test_the_example_with_rllibs_arguments_learns(tmp_path):
    """Three minutes: its validation reward goes from 0.26 to 0.36 in 80 steps, and 0.34 is asked for."""
    command = [sys.executable, str(EXAMPLES / "countdown_aepo.py"), "--as-test", "--num-cpus=2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1800, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "reached! ok" in result.stdout
    assert "entropy" in result.stdout  # a column of the reporter


def test_the_reporter_shows_what_a_dial_did(tmp_path, monkeypatch):
    """In Tune's own table, of a trial that has reported."""
    monkeypatch.setattr("ray.tune.utils.log.verbosity", 3)  # an earlier search of this process may have lowered it
    places = dict.fromkeys(["experiment_driver_staging_path", "trial_driver_staging_path"], str(tmp_path))
    trial = Trial("AEPO", stub=True, storage=SimpleNamespace(**places))
    result = {
        "training_iteration": 7,
        metrics.MAIN: {metrics.REWARD_MEAN: 0.25, metrics.EXACT_ENTROPY: 0.75},
        metrics.CONTROL: {metrics.TARGET_ENTROPY: 0.5, metrics.TEMPERATURE: 0.8},
        "evaluation": {"env_runners": {metrics.PASS_AT_1: 0.375}},
    }
    trial.update_last_result(result)
    told_lines: list[str] = []  # other tests of a process may have Ray print elsewhere
    monkeypatch.setattr("ray.tune.progress_reporter.safe_print", lambda text: told_lines.extend(text.splitlines()))
    tune_reporter(metric_columns={"mine/score": "score"}).report([trial], done=False)
    shown = [[cell.strip() for cell in line.split("|")] for line in told_lines if "|" in line]
    assert shown, told_lines
    head, row = shown[0], shown[-1]
    told = dict(zip(head, row, strict=True))
    expected = {"step": "7", "reward": "0.25", "entropy": "0.75", "target": "0.5", "T": "0.8", "pass@1": "0.375"}
    assert {name: told[name] for name in expected} == expected
    assert not {"coefficient", "score"} & set(head)


def test_no_example_is_forgotten():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "train_from_python.py",
        "countdown_aepo.py",
        "tune_target_entropy.py",
        "own_engine.py",  # trained by tests/test_extending.py, and held to the contract of engines
        "own_problems.py",  # trained by tests/test_extending.py
        "own_environment.py",  # trained by tests/aepo_rllib/test_own_environments.py
        "own_method.py",  # run by tests/test_own_methods.py
        "own_dial.py",
        "own_reward.py",  # tested by tests/envs/test_own_rewards.py
    }


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    """As a kernel would run it, cell by cell in one process, with fewer steps and samples."""
    cells = json.loads((EXAMPLES / "first_hour.ipynb").read_text())["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    for long, short in {"STEPS = 120": "STEPS = 2", "n=128, limit=48": "n=4, limit=4"}.items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    code = code.replace(
        "plt.show()", "print('drawn', [line.get_label() for line in plt.gcf().axes[0].lines])\nplt.close()"
    )
    env = os.environ | {"MPLBACKEND": "agg"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=env, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "drawn ['GRPO', 'AEPO, target 1.0x']" in result.stdout
    assert "drawn ['base model', 'GRPO', 'AEPO, target 1.0x']" in result.stdout


def test_the_notebook_keeps_no_outputs():
    notebook = json.loads((EXAMPLES / "first_hour.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert not [cell for cell in notebook["cells"] if cell.get("outputs")]
