"""Seeded lists of procedural problems, and the mix of families that is called `arithmetic`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from aepo_rllib.envs.problems.families import draw_of_split, find_family
from aepo_rllib.envs.problems.families.family import SPLIT_PERCENT
from aepo_rllib.envs.problems.problem import Problem, ProblemError

MAX_MISSES = 1000
FAMILY_WEIGHTS = {"countdown3": 5, "countdown4": 1, "sum3": 2, "sum4": 1}
SPLIT_SIZES = {"train": 4096, "validation": 128, "test": 96}


def arithmetic_problems(
    split: str = "train", *, families: Mapping[str, int] | None = None, size: int | None = None, seed: int = 0
) -> list[Problem]:
    """A seeded list of distinct procedural problems.

    Args:
        split: "train", "validation" or "test".
        families: Weight of each family, see `aepo_rllib.envs.problems.families.find_family`; default `FAMILY_WEIGHTS`.
            Problems interleave in these proportions.
        size: How many problems; by default 4096, 128 or 96 by split, or fewer where a family has fewer.
        seed: Which ones.

    Raises:
        ValueError: unknown split or family, or more problems asked for than a family has.
        ProblemError: a family of the user's draws something else than problems, or none of this split.
    """
    if split not in SPLIT_PERCENT:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SPLIT_PERCENT)}")
    wheel = [find_family(name) for name, weight in (families or FAMILY_WEIGHTS).items() for _ in range(weight)]
    wanted = SPLIT_SIZES[split] if size is None else size
    rng = random.Random(f"{seed}/{split}")
    problems: dict[str, Problem] = {}
    misses = 0
    while len(problems) < wanted:
        family = wheel[len(problems) % len(wheel)]
        problem = family.problem(draw_of_split(family, split, rng))
        if not isinstance(problem, Problem):
            raise ProblemError(f"problem family {family.name}: {problem!r:.80} is no Problem")
        if problem.id in problems:
            misses += 1
            if misses <= MAX_MISSES:
                continue
            if size is None:  # a small family on its own: all it has
                break
            raise ValueError(f"{family.name} has fewer {split} problems than the {size} asked for")
        misses = 0
        problems[problem.id] = problem if problem.family else replace(problem, family=family.name)
    return list(problems.values())
