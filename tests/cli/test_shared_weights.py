"""`aepo train` with learners that share one set of weights, and how such a run goes on in another layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.support.command import SMALL, aepo, records

pytestmark = pytest.mark.process

SHARED = [
    *("--num-learners", "2", "--num-env-runners", "2", "--set", "learner_sharding=fsdp"),
    *("--set", "num_cpus_per_learner=0.5", "--set", "num_cpus_per_env_runner=0.5"),
    *("--set", "tokens_per_backward=300", "--set", "checkpoint_activations=true", "--set", "probe_rows=2"),
]
ALONE = ["--num-learners", "0", "--num-env-runners", "0", "--set", "learner_sharding=none"]


def test_a_run_of_two_learners_that_share_their_weights_goes_on_in_one_process(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = aepo("train", "--output", run, "--steps", 2, *SMALL, *SHARED, "--set", "export_checkpoints=false")
    assert result.returncode == 0, result.stdout + result.stderr
    [checkpoint] = (run / "checkpoints").glob("step_000002")
    assert len([*checkpoint.rglob("*.distcp")]) == 2
    assert not (checkpoint / "huggingface").exists()
    assert AutoModelForCausalLM.from_pretrained(run / "huggingface").num_parameters() > 300_000
    result = aepo("train", "--resume", run, "--steps", 3, *ALONE)
    assert result.returncode == 0, result.stdout + result.stderr
    told = records(run)
    assert [record["step"] for record in told] == [1, 2, 3]
    assert all(record["update/first_ratio_max_deviation"] < 1e-3 for record in told)
    assert all(record["update/probe_largest_gap"] < 1e-4 for record in told)
