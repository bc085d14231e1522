"""Names of config keys, with the nearest known one where one is misspelt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.search.sample import Domain

from aepo_rllib.rllib_seam import attribute_of, is_deprecated
from aepo_rllib.support.key_names import unknown_key
from aepo_rllib.support.options import KINDS, Option
from aepo_rllib.training.rllib_options import IGNORED

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig

FREE_FORM = frozenset({"env"})
"""Keys whose values have a parser of their own."""
INNER = frozenset(
    {
        "in_evaluation",
        "policies",
        "framework_str",
        "model",
        "optimizer",
        "batch_mode",
        "rollout_fragment_length",
        "clip_actions",
        "normalize_actions",
        "num_gpus",
        "simple_optimizer",
        "placement_strategy",
        "eager_tracing",
        "eager_max_retraces",
        "num_cpus_for_main_process",
        "preprocessor_pref",
        "remote_worker_envs",
    }
)
"""RLlib's keys that it sets itself, or that mean nothing here."""


def names_of(config: AlgorithmConfig) -> list[str]:
    """Keys that somebody may mean: all but private ones."""
    return [name for name in (*vars(config), "multiagent") if not name.startswith("_")]


def check_known_key(config: AlgorithmConfig, key: str) -> None:
    """Refuse a config key that does not exist.

    Raises:
        ValueError: names the nearest known keys.
    """
    if key.startswith("__") and key.endswith("__") and not hasattr(config, key):  # Ray Tune's own
        return
    name = attribute_of(key)
    if name in (*vars(config), "multiagent") or isinstance(getattr(type(config), name, None), property):
        return
    raise ValueError(unknown_key(key, names_of(config)))


def is_search(value: Any) -> bool:
    """Whether a value is one of Tune's search spaces, which become values before a trial begins."""
    return isinstance(value, Domain) or (isinstance(value, Mapping) and "grid_search" in value)


def is_plain(config: TextRLConfig, key: str) -> bool:
    """Whether a config key takes a plain value, which YAML can say; no class, function or key of the past."""
    if key in config.options() or key in FREE_FORM or key in IGNORED:
        return True
    if key.startswith(("_", "offline_", "min_sample_", "min_train_", "input_", "output", "tf_")) or key in INNER:
        return False
    default = getattr(AlgorithmConfig(), key, None)
    return type(default) in KINDS and not is_deprecated(default)


def option_of(config: TextRLConfig, key: str) -> Option | None:
    """What the values of a plain key may be; None where a parser of its own, or the whole config, tells."""
    if key in config.options():
        return config.options()[key]
    if key in FREE_FORM or key in IGNORED:
        return None
    return Option(type(getattr(AlgorithmConfig(), key)))


def check_plain(config: TextRLConfig, key: str, value: Any) -> None:
    """Refuse what YAML and the command line cannot set, and values of another kind than RLlib's default.

    Raises:
        ValueError: an unknown key, or one of these; names it.
    """
    check_known_key(config, key)
    if not is_plain(config, key):
        raise ValueError(f"config key {key!r} cannot be set in YAML or on the command line; set it in Python")
    if key not in config.options() and (option := option_of(config, key)):
        option.check(key, value)
