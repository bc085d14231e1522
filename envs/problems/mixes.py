"""Mixes of problem sources by weight: `countdown3=2,chain=1` in one text, or a mapping of sources to weights."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from math import gcd, lcm
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.bounded_files import ending_of
from aepo_rllib.envs.problems.columns import shown
from aepo_rllib.envs.problems.problem import Problem, ProblemError, ProblemSet
from aepo_rllib.support.plugins import absolute

MIXES: Mapping[str, Mapping[str, int]] = {
    "arithmetic": {"countdown3": 5, "countdown4": 1, "sum3": 2, "sum4": 1},
    "chain": {"chain1": 1, "chain2": 1, "chain3": 1, "chain4": 1},
}
"""Families that go by one name together, with their weights."""
MAX_WEIGHT = 1000


def as_mix(source: Any) -> dict[str, int] | None:
    """The sources of a mix with their weights; None for a single source, whatever it is. Nothing is looked up.

    A name of a file that is there is no mix, commas or not.

    Raises:
        ProblemError: a mix without sources, a source that has no name or comes twice, or a weight that is no whole
            number from 1 to 1000; names it.
    """
    if isinstance(source, Mapping):
        pairs = list(source.items())
    elif isinstance(source, str) and ("," in source or "=" in source) and not Path(source).exists():
        pairs = [_pair(part.strip(), source) for part in source.split(",")]
    else:
        return None
    mix: dict[str, int] = {}
    for name, weight in pairs:
        if not isinstance(name, str) or not name.strip():
            raise ProblemError(f"problems {_written(source)}: {shown(name)} is no name of a source")
        if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= MAX_WEIGHT:
            raise ProblemError(
                f"problems {_written(source)}: the weight of {name} must be a whole number from 1 to {MAX_WEIGHT}, "
                f"not {shown(weight)}"
            )
        if name in mix:
            raise ProblemError(f"problems {_written(source)}: {name} comes twice; add up its weights")
        mix[name] = weight
    if not mix:
        raise ProblemError(f"problems {_written(source)}: a mix needs sources")
    return mix


def absolute_source(source: Any) -> Any:
    """The same source, or mix of them, with absolute paths, for processes that work in other folders."""
    if (mix := as_mix(source)) is not None:
        return {_absolute(name): weight for name, weight in mix.items()}
    return _absolute(source) if isinstance(source, str) else source


def families_of(weights: Mapping[str, int]) -> dict[str, int]:
    """Weights of single families: those that go by one name together share its weight in their own proportions."""
    common = lcm(*(sum(MIXES[name].values()) for name in weights if name in MIXES))
    found: dict[str, int] = {}
    for name, weight in weights.items():
        members = MIXES.get(name, {name: 1})
        for member, share in members.items():
            found[member] = found.get(member, 0) + weight * common * share // sum(members.values())
    return {name: weight // gcd(*found.values()) for name, weight in found.items()}


def mixed(sets: Mapping[str, ProblemSet], weights: Mapping[str, int], seed: int) -> list[Problem]:
    """Problems of several sets in turn, as many of each as its weight says. None comes twice.

    The set that has the fewest for its weight decides how many there are; of the others a random choice is taken, in
    its order. Problems without a family are labelled by their set.

    Args:
        sets: By name.
        weights: Of each.
        seed: Of the choice.

    Raises:
        ProblemError: a set has fewer problems than its weight.
    """
    seen: set[tuple[Any, str]] = set()
    ids: set[str] = set()
    distinct: dict[str, list[Problem]] = {}
    for name, given in sets.items():
        label = Path(name).name.removesuffix(ending_of(name))
        distinct[name] = []
        for problem in given:
            if (key := (problem.turns, problem.text)) not in seen:
                seen.add(key)
                own = problem.id if problem.id not in ids else f"{label}/{problem.id}"
                ids.add(own)
                distinct[name].append(replace(problem, id=own, family=problem.family or label))
    for name, problems in distinct.items():
        if len(problems) < weights[name]:
            raise ProblemError(f"{name} has only {len(problems)} problems, fewer than its weight in the mix")
    rounds = min(len(problems) // weights[name] for name, problems in distinct.items())
    chosen = {
        name: iter(_some(problems, rounds * weights[name], f"{seed}/{name}")) for name, problems in distinct.items()
    }
    wheel = [name for name in distinct for _ in range(weights[name])]
    return [next(chosen[name]) for _ in range(rounds) for name in wheel]


def _some(problems: list[Problem], count: int, seed: str) -> list[Problem]:
    places = random.Random(seed).sample(range(len(problems)), count)
    return [problems[place] for place in sorted(places)]


def _pair(part: str, source: str) -> tuple[str, Any]:
    """Name and weight of a part of a mix, the weight 1 where none is given."""
    name, equals, weight = part.rpartition("=")
    if not equals:
        return part, 1
    return name.strip(), int(weight) if weight.isascii() and weight.isdecimal() and len(weight) < 10 else weight


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else absolute(name)


def _written(source: Any) -> str:
    return f"{source!s:.200}" if isinstance(source, str) else f"{dict(source)!r:.200}"
