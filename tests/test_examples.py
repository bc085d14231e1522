"""The examples run as they stand, with fewer steps."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_no_example_is_forgotten():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "train_from_python.py",
        "tune_target_entropy.py",
        "own_engine.py",  # trained by tests/test_extending.py, and held to the contract of engines
        "own_problems.py",  # trained by tests/test_extending.py
        "own_environment.py",  # trained by tests/aepo_rllib/test_own_environments.py
        "own_method.py",  # run by tests/test_own_methods.py
        "own_dial.py",
        "own_reward.py",  # tested by tests/envs/test_own_rewards.py
    }
