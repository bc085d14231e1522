"""All options of all methods as plain data, `cli/options.json`: by it the command line refuses mistakes before torch
and Ray are loaded. Made from the declarations by `python -m aepo_rllib.options_table`; a test holds it to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from aepo_rllib.support.options import Option

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig

SPELT_OTHERWISE = ("callbacks", "framework", "input", "lambda", "num_workers", "num_cpus_for_driver")
"""Keys that RLlib takes for attributes of other names."""
NOT_TOLD = ("default", "words", "grammar")
"""Attributes of an option that decide nothing about a value, but for `()`, the default that lets a list be empty."""


def as_json() -> str:
    """The text of `cli/options.json`: names and options of every method, those that all share once."""
    from aepo_rllib.algorithms import ALGORITHMS
    from aepo_rllib.control.temperature_dials import TEMPERATURE_DIALS
    from aepo_rllib.rollout import ENGINES

    tables = {name: _table(config()) for name, config in ALGORITHMS.items()}
    first = next(iter(tables.values()))
    shared = {key: first[key] for key in first if all(table.get(key) == first[key] for table in tables.values())}
    methods = {
        name: {key: option for key, option in table.items() if shared.get(key) != option}
        for name, table in tables.items()
    }
    parts = {"engine": {name: ENGINES[name].NEEDS for name in ENGINES}, "controller": dict.fromkeys(TEMPERATURE_DIALS)}
    return json.dumps({"shared": shared, "methods": methods, "parts": parts}, indent=1, sort_keys=True) + "\n"


def _table(config: TextRLConfig) -> dict[str, Any]:
    """By key: what its values may be; None where the command line cannot set it, and {} where that is told later."""
    from aepo_rllib.training.known_keys import check_known_key, is_plain, names_of, option_of

    table = {key: _written(option_of(config, key)) if is_plain(config, key) else None for key in names_of(config)}
    for key in (*dir(type(config)), *SPELT_OTHERWISE):  # further keys that RLlib knows, and turns into one of these
        try:
            check_known_key(config, key)
        except ValueError:
            continue
        if not key.startswith("_"):
            table.setdefault(key, {})
    return table


def _written(option: Option | None) -> Mapping[str, Any]:
    """An option without what is at its default; nothing of one whose values have a grammar."""
    if option is None or option.parse is not None:
        return {}
    plain = Option(option.kind)
    told = {
        field.name: getattr(option, field.name)
        for field in fields(Option)
        if field.name not in ("kind", *NOT_TOLD) and getattr(option, field.name) != getattr(plain, field.name)
    }
    empty = {"default": ()} if option.default == () else {}
    return {"kind": option.kind.__name__, **told, **empty}


if __name__ == "__main__":
    print(as_json(), end="")
