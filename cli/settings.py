"""From command line and YAML to an algorithm config, and back to YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from aepo_rllib.support.options import TEXT, Option, check_values, count
from aepo_rllib.support.plugins import absolute
from aepo_rllib.support.yaml_input import parse_yaml

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig


DEFAULT_ALGO = "aepo_steady"
"""AEPO with the dial that holds all of the base model's entropy; `aepo` is the paper's."""
MIX = "problems"
RUN_OPTIONS = {
    "algo": TEXT,
    "steps": count(),
    "checkpoint_every": count(),
    "keep_checkpoints": count(),
    "samples_per_step": count(0),
    "track": Option(str, several=True, default=()),
}


@dataclass(frozen=True)
class RunSettings:
    """What belongs to a run rather than to its algorithm.

    Attributes:
        algo: A name that `aepo_rllib.algorithms.find_config` knows, or `module:Config`.
        steps: Training steps in all.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: How many of the newest checkpoints stay on disk.
        samples_per_step: Completions of each stream written to samples.jsonl every step.
        track: Trackers that show the run beside its folder: wandb, mlflow, or module:Class of one's own.
    """

    algo: str = DEFAULT_ALGO
    steps: int = 200
    checkpoint_every: int = 50
    keep_checkpoints: int = 2
    samples_per_step: int = 2
    track: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_values(asdict(self), RUN_OPTIONS)


def parse_assignments(assignments: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """`key=value` pairs; values are YAML, dots reach into mappings (`env_config.template=boxed`).

    Raises:
        ValueError: a pair without `=`, a value that is no YAML, or a key that is given both a value and parts.
    """
    result: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        *outer, last = key.split(".")
        if not equals or not all((*outer, last)):
            raise ValueError(f"{option} {assignment!r}: expected key=value")
        target = result
        for name in outer:
            target = target.setdefault(name, {})
            if not isinstance(target, dict):
                raise ValueError(f"{option} {assignment!r}: {name} has been given a value, so it has no parts")
        target[last] = parse_yaml(text, f"{option} {assignment!r}")
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`, mappings inside each other merged; a mix of problems is one value."""
    merged = dict(base)
    for key, value in over.items():
        both_maps = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key != MIX
        merged[key] = merge(merged[key], value) if both_maps else value
    return merged


def build(values: Mapping[str, Any]) -> tuple[RunSettings, TextRLConfig]:
    """Run settings and a validated algorithm config from flat values.

    Raises:
        ValueError: an unknown algorithm or key, or a value that does not fit, see `TextRLConfig.validate`; or an engine
            that is not installed.
    """
    from aepo_rllib.cli.trackers import tracker_class
    from aepo_rllib.rollout import check_installed

    settings, config = unchecked(values)
    for name in settings.track:
        tracker_class(name)
    config.validate()
    if config.curriculum_steps and config.curriculum_steps >= settings.steps:
        raise ValueError(
            f"curriculum_steps={config.curriculum_steps} with steps={settings.steps}: the hardest problems would never "
            "be trained on; raise steps, or lower curriculum_steps"
        )
    check_installed(config.engine)
    return settings, config


def unchecked(values: Mapping[str, Any]) -> tuple[RunSettings, TextRLConfig]:
    """As `build`, for a machine that may be another one, and a model and problems that may not be here.

    Raises:
        ValueError: an unknown algorithm or key, or a value that does not fit.
    """
    from aepo_rllib.algorithms import find_config
    from aepo_rllib.training.known_keys import check_plain

    run_keys = {field.name for field in fields(RunSettings)}
    settings = replace(RunSettings(), **{key: value for key, value in values.items() if key in run_keys})
    config = find_config(settings.algo)()
    settings = replace(settings, algo=absolute(settings.algo), track=tuple(map(absolute, settings.track)))
    given = {key: value for key, value in values.items() if key not in run_keys}
    for key, value in given.items():
        check_plain(config, key, value)
    config.update_from_dict(given)
    if config.seed is None:
        config.seed = 0
    return settings, config


def resolved(settings: RunSettings, config: TextRLConfig) -> dict[str, Any]:
    """Every plain value of the run that is ours, or departs from RLlib's default or ours; `build` reads it back."""
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from aepo_rllib.training.known_keys import is_plain

    defaults, ours = vars(AlgorithmConfig()), vars(type(config)())
    values = {
        key: _plain(value)
        for key, value in sorted(vars(config).items())
        if not key.startswith("_")
        and is_plain(config, key)
        and _is_plain(value)
        # What equals RLlib's default but not ours (evaluation_interval: null) would come back as ours.
        and (key not in defaults or defaults[key] != value or ours[key] != value)
    }
    return asdict(settings) | values


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
