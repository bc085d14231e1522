"""Checks of single config values, with the nearest known name where one is misspelt."""

from __future__ import annotations

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from aepo_rllib.arguments import unknown

FREE_FORM = frozenset({"target_entropy"})
"""Keys whose values come in several types; their own parser checks them."""


def check_known_key(config: AlgorithmConfig, key: str) -> None:
    """Refuse a config key that does not exist.

    Raises:
        ValueError: names the nearest known keys.
    """
    if key.startswith("__") and key.endswith("__"):  # Ray Tune's own
        return
    known = [*vars(config), "multiagent"]
    # RLlib's dicts spell some keys differently from its attributes ("input" for "input_").
    name = config._translate_special_keys(key, warn_deprecated=False)
    if name in known or isinstance(getattr(type(config), name, None), property):
        return
    raise ValueError(unknown("config key", key, [name for name in known if not name.startswith("_")]))


def check_types(config: AlgorithmConfig) -> None:
    """Refuse a value whose type is not its default's, for the keys that RLlib does not have itself.

    Raises:
        ValueError: names key, value and type.
    """
    defaults, rllib = vars(type(config)()), vars(AlgorithmConfig())
    for name, default in defaults.items():
        value = getattr(config, name)
        if name in rllib or name in FREE_FORM or name.startswith("_"):
            continue
        for kind, accepted in ((bool, bool), (int, int), (float, (int, float)), (str, str)):
            if type(default) is kind and (
                not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool)
            ):
                raise ValueError(f"{name}={value!r} must be {_TYPE_NAMES[kind]}, such as the default {default!r}")


_TYPE_NAMES: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
