"""What the options of `aepo train` say, and commands that share them."""

from __future__ import annotations

from typing import Any

from aepo_rllib.cli.resuming import FINGERPRINTS
from aepo_rllib.cli.settings import merge, parse_assignments
from aepo_rllib.support.yaml_input import read_mapping


def given_values(options: dict[str, Any]) -> dict[str, Any]:
    """File, then options, then --set: later ones win."""
    values = read_mapping(options["config_file"]) if options["config_file"] else {}
    for name in FINGERPRINTS:  # a run's own config.yaml: the same settings, whatever the weights
        values.pop(name, None)
    named = (
        "algo",
        "model_path",
        "steps",
        "batch_size",
        "group_size",
        "num_env_runners",
        "engine",
        "num_learners",
        "seed",
        "target_entropy",
    )
    given = {name: options[name] for name in named if options[name] is not None}
    if options.get("track"):
        given["track"] = options["track"]
    environment = {name: options[name] for name in ("problems", "template") if options.get(name) is not None}
    if environment:
        given["env_config"] = environment
    return merge(merge(values, given), parse_assignments(options["assignments"]))
