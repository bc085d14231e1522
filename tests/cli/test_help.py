"""What `--help` says of defaults is what the options are declared with."""

from __future__ import annotations

import inspect
import re

import pytest

from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.cli.settings import DEFAULT_ALGO, RunSettings
from aepo_rllib.cli.train import train_command
from aepo_rllib.envs.text_env import MathTextEnv

DECLARED = ALGORITHMS[DEFAULT_ALGO]()
SAID = {
    option.name: match.group(1)
    for option in train_command.params
    if (match := re.search(r"\[default: (.*)\]", getattr(option, "help", None) or ""))
}


@pytest.mark.parametrize("name", sorted(SAID.keys() - {"problems", "template", "output", "ray_address"}))
def test_the_default_in_the_help_is_the_declared_one(name: str) -> None:
    declared = getattr(RunSettings(), name) if hasattr(RunSettings(), name) else getattr(DECLARED, name)
    assert SAID[name] == str(0 if declared is None else declared)  # seed: None is 0 for a run


def test_the_help_names_defaults_at_all() -> None:
    assert len(SAID) > 10


def test_the_problems_in_the_help_are_the_default_ones() -> None:
    assert DECLARED.text_env_kwargs()["problems"] == SAID["problems"]


def test_the_template_in_the_help_is_the_default_one() -> None:
    assert inspect.signature(MathTextEnv.__init__).parameters["template"].default == SAID["template"]
