"""What an exported model says of its own making: versions, settings, and where it came from."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.repocard import metadata_load

from aepo_rllib._version import __version__
from aepo_rllib.envs.problems.bounded_files import find_file
from aepo_rllib.envs.problems.mixes import as_mix
from aepo_rllib.envs.problems.sources import is_procedural
from aepo_rllib.models.model_card import is_hub_id
from aepo_rllib.models.named_folder import EMBEDDED_MODELS, is_here
from aepo_rllib.training.known_keys import is_plain

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig

LIBRARIES = ("ray", "torch", "transformers")
OWN_LICENSE = "mit"
"""Of the embedded model, as of this package."""


def provenance(config: TextRLConfig) -> dict[str, Any]:
    """For `aepo.json` and the model card, in plain JSON.

    Returns:
        "versions"; "model", "problems" and "target_entropy", as they were named; "config", the method and the settings
        that differ from its defaults, as `aepo train --config` reads them; and where they are known "base_model" and
        "datasets", ids of the model hub, and "license", that of the base model.
    """
    problems = config.text_env_kwargs().get("problems")
    found = {
        "model": _without_folders(config.model_path),
        "problems": _without_folders(problems) if _is_json(problems) else None,
        "target_entropy": getattr(config, "target_entropy", None),
        "base_model": None if is_here(config.model_path) else config.model_path,
        "license": _license(config.model_path),
        "datasets": _datasets(problems),
    }
    return {
        "versions": {"aepo-rllib": __version__, "python": platform.python_version()}
        | {library: version(library) for library in LIBRARIES},
        **{name: value for name, value in found.items() if value},
        "config": {"algo": _name_of(type(config)), **changed_settings(config)},
    }


def changed_settings(config: TextRLConfig) -> dict[str, Any]:
    """Plain settings that differ from the method's defaults; of absolute paths, which tell of a machine, the end."""
    defaults = vars(type(config)())
    return {
        key: _without_folders(value)
        for key, value in sorted(vars(config).items())
        if not key.startswith("_") and is_plain(config, key) and _is_json(value) and value != defaults.get(key)
    }


def _name_of(config: type) -> str:
    """As `aepo_rllib.algorithms.find_config` knows a method, whose file is called as it is."""
    *room, file = config.__module__.split(".")
    return file if room == ["aepo_rllib", "algorithms"] else f"{config.__module__}:{config.__qualname__}"


def _license(model: str) -> str | None:
    """What the base model's own card says, where it lies on this machine."""
    if model in EMBEDDED_MODELS:
        return OWN_LICENSE
    try:
        return (metadata_load(Path(model) / "README.md") or {}).get("license") if is_here(model) else None
    except Exception:  # anybody's file: none, or no YAML
        return None


def _datasets(source: Any) -> list[str]:
    """The parts of a problem source that are datasets of the hub."""
    names = as_mix(source) or [source] if source else []
    others = [name.partition(":")[0] for name in names if not is_procedural(name) and find_file(name) is None]
    return [name for name in others if is_hub_id(name)]


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(part) for part in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
