"""Procedural families of problems, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aepo_rllib.envs.problems.families.chain import Chain
from aepo_rllib.envs.problems.families.countdown import Countdown
from aepo_rllib.envs.problems.families.family import Family, draw_of_split, split_of
from aepo_rllib.envs.problems.families.sums import Sum
from aepo_rllib.support.plugins import absolute, find, known

__all__ = ["FAMILIES", "GROUP", "Family", "draw_of_split", "find_family", "is_family", "split_of"]

GROUP = "aepo_rllib.problems"
"""Entry points: each a `Family`, or a class of one that takes no arguments."""
FAMILIES: Mapping[str, Family[Any]] = {
    family.name: family
    for family in (Countdown(3), Countdown(4), Sum(3), Sum(4), Chain(1), Chain(2), Chain(3), Chain(4))
}  # fmt: skip


def is_family(name: str) -> bool:
    """Whether this is the name of a family, or says where one is written; nothing is imported."""
    if name in FAMILIES:
        return True
    place, colon, attribute = name.rpartition(":")
    if colon:  # unlike the configuration of a Hugging Face dataset, org/name:configuration
        is_module = all(part.isidentifier() for part in place.split("."))
        return attribute.isidentifier() and (is_module or place.endswith(".py"))
    return name in known({}, GROUP)


def find_family(name: str) -> Family[Any]:
    """The family of this name: one of `FAMILIES`, of the entry points, `module:family` or `path/to/file.py:family`.

    Raises:
        ValueError: there is none; names the known ones.
    """
    return FAMILIES[name] if name in FAMILIES else _added(absolute(name))


@lru_cache(maxsize=16)
def _added(name: str) -> Family[Any]:
    found: Any = find("problem family", name, FAMILIES, GROUP, kind="family")
    if inspect.isclass(found) and issubclass(found, Family):
        try:
            found = found()
        except TypeError as error:  # abstract, or in want of arguments
            raise ValueError(f"problem family {name!r:.200} cannot be made without arguments ({error})") from error
    if not isinstance(found, Family):
        raise ValueError(f"problem family {name!r:.200} is {found!r:.80}, and no aepo_rllib.envs.problems.Family")
    return found
