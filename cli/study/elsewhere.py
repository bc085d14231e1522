"""Runs for another machine: what can be checked of them without their model, problems, engine and GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aepo_rllib.cli.settings import RunSettings, build, unchecked

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig

STAND_INS: dict[str, Any] = {
    "model_path": "embedded",
    "env_config": {"problems": "arithmetic"},
    "engine": "transformers",
    "engine_options": {},
    "max_new_tokens": 64,
    "num_env_runners": 0,
    "num_gpus_per_env_runner": 0,
    "num_learners": 0,
    "num_gpus_per_learner": 0,
}
"""What stands for what is on the hub, or on other machines."""


def build_elsewhere(values: Mapping[str, Any]) -> tuple[RunSettings, TextRLConfig]:
    """Run settings and a config whose names and values are checked, and their combination with stand-ins.

    Raises:
        ValueError: see `aepo_rllib.cli.settings.build`.
    """
    build({**values, **STAND_INS})
    return unchecked(values)
