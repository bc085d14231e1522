"""Validation problems out of a set that has none of its own: chosen by a hash, so that they stay the same ones.

A problem is held out or not whatever else is in the set, in which order, and under which name: a file may grow, and no
problem changes sides. Equal texts stand on one side.
"""

from __future__ import annotations

import hashlib

from aepo_rllib.envs.problems.problem import Problem, ProblemSet

TRAIN, VALIDATION = "train", "validation"


def is_held_out(problem: Problem, share: float) -> bool:
    """Whether a problem is one of this share of all texts."""
    digest = hashlib.sha256(repr((problem.turns, problem.text)).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def side_of(problems: ProblemSet, split: str, share: float) -> list[Problem]:
    """What a split has of the problems: training all but the share that is held out, and validation that.

    Other splits have all.
    """
    if split not in (TRAIN, VALIDATION):
        return list(problems)
    return [problem for problem in problems if is_held_out(problem, share) == (split == VALIDATION)]
