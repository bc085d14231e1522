"""Seeded lists of procedural problems."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from aepo_rllib.envs.problems.families import draw_of_split, find_family
from aepo_rllib.envs.problems.families.family import SPLIT_PERCENT
from aepo_rllib.envs.problems.mixes import MIXES
from aepo_rllib.envs.problems.problem import Problem, ProblemError

MAX_MISSES = 1000
FAMILY_WEIGHTS = MIXES["arithmetic"]
SPLIT_SIZES = {"train": 4096, "validation": 128, "test": 96}


def arithmetic_problems(
    split: str = "train", *, families: Mapping[str, int] | None = None, size: int | None = None, seed: int = 0
) -> list[Problem]:
    """A seeded list of distinct procedural problems.

    Problems for training differ in their ids: the same numbers in another order are another prompt to learn from. Those
    to be measured on differ in their canonical forms as well, for problems that stand or fall together would count as
    several, and intervals over them come out too narrow.

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
    forms: set[tuple[str, str]] = set()
    misses = 0
    while len(problems) < wanted:
        family = wheel[len(problems) % len(wheel)]
        drawn = draw_of_split(family, split, rng)
        problem = family.problem(drawn)
        if not isinstance(problem, Problem):
            raise ProblemError(f"problem family {family.name}: {problem!r:.80} is no Problem")
        form = problem.verifier, problem.id if split == "train" else family.canonical(drawn)
        if problem.id in problems or form in forms:
            misses += 1
            if misses <= MAX_MISSES:
                continue
            if size is None:  # a small family on its own: all it has
                break
            raise ValueError(f"{family.name} has fewer {split} problems than the {size} asked for")
        misses = 0
        forms.add(form)
        problems[problem.id] = problem if problem.family else replace(problem, family=family.name)
    return list(problems.values())
