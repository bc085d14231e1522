"""`aepo plan` as a user runs it, and what `aepo train` makes of a plan before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from aepo_rllib import AEPOConfig
from aepo_rllib.cli.main import cli
from aepo_rllib.cli.memory import check_memory
from aepo_rllib.cli.plan import NOT_OF_TRAIN
from aepo_rllib.cli.settings import RunSettings
from aepo_rllib.cli.train import train_command
from aepo_rllib.models.hf import resolve_model
from tests.support.shapes import qwen

VLLM = [
    "--engine",
    "vllm",
    "--set",
    "dtype=bfloat16",
    "--set",
    "max_new_tokens=2048",
    "--set",
    "evaluation_interval=null",
]
EIGHT = [
    *VLLM,
    "--batch-size",
    "512",
    "--group-size",
    "5",
    "--set",
    "tokens_per_backward=16384",
    "--gpus",
    "8",
    "--gpu-memory",
    "80",
]


def aepo(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 7B of which there is the configuration alone."""
    path = tmp_path_factory.mktemp("models") / "seven"
    config = qwen("7b")
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(path)
    return path


def test_a_model_of_which_only_the_configuration_is_here_is_planned_for_another_machine(model: Path) -> None:
    result = aepo("plan", "--model", model, *EIGHT, "--set", "sleep_while_learning=true")
    assert result.exit_code == 1
    assert "7,615,616,512 parameters, bfloat16, on 8 x 85.5 GB" in result.stdout
    assert "no GPU was asked for; planned with num_learners=8 num_env_runners=8" in result.stdout
    assert "it would with: learner_sharding=fsdp" in result.stdout
    fitting = aepo(
        "plan", "--model", model, *EIGHT, "--set", "learner_sharding=fsdp", "--set", "sleep_while_learning=true"
    )
    assert fitting.exit_code == 0
    assert "it fits" in fitting.stdout
    assert all(part in fitting.stdout for part in ("GPU 0-7", "engine + learner,", "learning", "sampling"))


def test_a_plan_for_machines_has_plain_values_that_add_up(model: Path) -> None:
    layout = ["--num-learners", 4, "--num-env-runners", 4, "--set", "num_gpus_per_learner=1"]
    layout += ["--set", "num_gpus_per_env_runner=1", "--set", "learner_sharding=fsdp"]
    result = aepo("plan", "--json", "--model", model, *EIGHT, *layout, "--prompt-tokens", 300)
    plan = json.loads(result.stdout)
    assert plan["fits"], plan["complaints"]
    assert result.exit_code == 0
    assert plan["spread"] == {}
    assert len(plan["gpus"]) == 8
    learners = [gpu for gpu in plan["gpus"] if "gradients" in gpu["learning"]]
    assert len(learners) == 4
    assert all(gpu["peak"] == sum(gpu["learning"].values()) for gpu in learners)
    states = sum(learners[0]["learning"][kind] for kind in ("weights", "gradients", "Adam moments"))
    assert states == pytest.approx(16 * plan["parameters"] / 4, rel=1e-6)
    assert plan["engine_cache_tokens"] > 500_000


def test_without_gpus_the_host_is_planned() -> None:
    result = aepo("plan", "--gpus", 0, "--host-memory", 16)
    assert result.exit_code == 0
    assert "embedded: 339,648 parameters, float32, on the CPU" in result.stdout
    assert "host" in result.stdout
    assert "17.2" in result.stdout


def test_a_run_without_enough_gpus_is_told_so(model: Path) -> None:
    layout = ["--num-learners", 4, "--num-env-runners", 8, "--set", "num_gpus_per_learner=1"]
    result = aepo("plan", "--model", model, *EIGHT, *layout, "--set", "num_gpus_per_env_runner=1")
    assert result.exit_code == 1
    assert "it needs 12 GPUs, and there are 8" in result.stdout


def test_a_model_that_is_not_here_is_refused_with_the_cure() -> None:
    result = aepo("plan", "--model", "nobody/has-this", "--gpus", 1)
    assert result.exit_code == 2
    assert "cannot plan for model 'nobody/has-this'" in result.stderr
    assert "config.json" in result.stderr


def test_it_knows_the_options_of_a_run() -> None:
    options = {option.name for option in train_command.params} - NOT_OF_TRAIN
    shown = aepo("plan", "--help").stdout
    assert all(
        f"--{name.replace('_', '-')}" in shown for name in options - {"model_path", "config_file", "assignments"}
    )
    assert aepo("plan", "--set", "target_entrpy=1").exit_code == 2


def test_a_dry_run_shows_the_plan_beside_the_configuration() -> None:
    result = aepo("train", "--dry-run")
    assert result.exit_code == 0
    assert "it fits" in result.stderr
    assert yaml.safe_load(result.stdout.partition("\n")[2])["model_path"] == "embedded"


def test_the_disk_that_a_run_needs_is_that_of_its_checkpoints(model: Path) -> None:
    """Weights on the hub, of which this machine has no file, are counted as well."""
    config = AEPOConfig().language_model(model_path=str(model), dtype="bfloat16").learners(num_gpus_per_learner=1)
    needed = check_memory(config, RunSettings(keep_checkpoints=4))
    assert needed == 5 * (12 + 2) * 7_615_616_512


def test_a_large_model_on_the_cpu_is_refused_before_anything_starts(model: Path) -> None:
    with pytest.raises(ValueError, match=r"a node's memory would hold \d+ of"):
        check_memory(AEPOConfig().language_model(model_path=str(model)), RunSettings())


def test_a_small_one_needs_little_disk_and_no_plan() -> None:
    config = AEPOConfig().language_model(model_path=resolve_model("embedded"))
    assert check_memory(config, RunSettings()) == 3 * 16 * 339_648
    assert config.checkpoint_activations is None
