"""Recipes: each is known by its name, read as any configuration, and says nothing that a run would refuse."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from aepo_rllib.algorithms import find_config
from aepo_rllib.cli.config_file import recipes
from aepo_rllib.cli.main import cli
from aepo_rllib.cli.settings import RUN_OPTIONS
from aepo_rllib.cli.study.elsewhere import STAND_INS
from aepo_rllib.support.options import check_values
from tests.support.shapes import qwen


@pytest.mark.parametrize("name", recipes())
def test_its_keys_and_values_are_those_of_its_method(name: str) -> None:
    values = yaml.safe_load(recipes()[name].read_text())
    config = find_config(values["algo"])()
    own = {key: value for key, value in values.items() if key not in RUN_OPTIONS}
    config.update_from_dict(own)
    check_values(own, config.options())
    check_values({key: values[key] for key in RUN_OPTIONS.keys() & values.keys()}, RUN_OPTIONS)
    assert config.target_entropy == 0.5
    assert config.max_new_tokens < config.engine_options["max_model_len"]


@pytest.mark.parametrize("name", recipes())
def test_but_for_model_problems_and_gpus_it_is_a_run_of_any_machine(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(recipes()[name].read_text()) | STAND_INS))
    result = CliRunner().invoke(cli, ["train", "--dry-run", "--config", str(file)])
    assert result.exit_code == 0, result.output
    assert "tokens_per_backward: " in result.output


def test_an_unknown_recipe_is_told_with_those_that_exist() -> None:
    result = CliRunner().invoke(cli, ["train", "--config", "recipe:qwen2.5-math-7b-8x80"])
    assert result.exit_code == 2
    assert "no recipe 'qwen2.5-math-7b-8x80'; did you mean qwen2.5-math-7b-8x80gb" in " ".join(result.output.split())
    assert os.path.sep not in result.output.split("there are")[1]


MACHINES = {
    "qwen2.5-0.5b-24gb": ("0.5b", 1, 24),
    "qwen2.5-math-1.5b-lora-24gb": ("1.5b", 1, 24),
    "qwen2.5-math-1.5b-80gb": ("1.5b", 1, 80),
    "qwen2.5-math-7b-lora-80gb": ("7b", 1, 80),
    "qwen2.5-math-7b-8x80gb": ("7b", 8, 80),
    "qwen2.5-math-7b-2xh200": ("7b", 2, 141),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes())
def test_it_fits_the_machine_that_it_names_and_not_one_of_a_quarter_of_the_memory(name: str, tmp_path: Path) -> None:
    shape, gpus, memory = MACHINES[name]
    qwen(shape).save_pretrained(tmp_path)
    planned = {}
    for card in (str(memory), str(memory / 4)):
        options = ["--config", f"recipe:{name}", "--model", str(tmp_path), "--gpus", str(gpus), "--gpu-memory", card]
        result = CliRunner().invoke(cli, ["plan", *options, "--json"])
        planned[card] = json.loads(result.stdout)["fits"], result.exit_code
    assert planned[str(memory)] == (True, 0)
    assert planned[str(memory / 4)] == (False, 1)
