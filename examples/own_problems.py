"""A procedural family of problems of your own, in words that the embedded model knows.

    aepo problems examples/own_problems.py:Pairs
    aepo train --problems examples/own_problems.py:Pairs --steps 20
    aepo pretrain --family countdown3=3 --family examples/own_problems.py:Pairs --output my-base

docs/extending/problems.md says what a family is.
"""

from __future__ import annotations

import random

from aepo_rllib.envs.problems import Family, Problem


class Pairs(Family[tuple[int, int]]):
    """Sums of two numbers."""

    name = "pairs"

    def draw(self, rng: random.Random) -> tuple[int, int]:
        return rng.randint(2, 40), rng.randint(2, 40)

    def problem(self, drawn: tuple[int, int]) -> Problem:
        left, right = drawn
        return Problem(id=f"pairs:{left}_{right}", text=f"Add {left} {right}.", answer=str(left + right))

    def canonical(self, drawn: tuple[int, int]) -> str:
        """7 12 and 12 7 are one problem: both are for training, or neither."""
        return str(sorted(drawn))

    def trace(self, drawn: tuple[int, int], rng: random.Random, noise: float) -> str:
        """Only pre-training asks for it."""
        left, right = drawn
        total = left + right + (rng.choice((-1, 1)) if rng.random() < noise else 0)
        return f"{rng.choice((' So', ' Well'))} {left}+{right} = {total} \\boxed{{{total}}}"
