"""A procedural family of problems of your own, in words that the embedded model knows.

    aepo problems examples/own_problems.py:Doubles
    aepo train --problems examples/own_problems.py:Doubles --steps 20
    aepo pretrain --family countdown3=3 --family examples/own_problems.py:Doubles --output my-base

docs/extending/problems.md says what a family is.
"""

from __future__ import annotations

import random

from aepo_rllib.envs.problems import Family, Problem


class Doubles(Family[tuple[int, int]]):
    """Sums of a number and another one twice."""

    name = "doubles"

    def draw(self, rng: random.Random) -> tuple[int, int]:
        return rng.randint(2, 15), rng.randint(2, 15)

    def problem(self, drawn: tuple[int, int]) -> Problem:
        once, twice = drawn
        return Problem(f"doubles:{once}_{twice}", f"Add {once} {twice} {twice}.", str(once + 2 * twice))

    def canonical(self, drawn: tuple[int, int]) -> str:
        """As the embedded sums have it: what they train on is no test problem here."""
        once, twice = drawn
        return f"{sorted([once, twice, twice])}={once + 2 * twice}"

    def trace(self, drawn: tuple[int, int], rng: random.Random, noise: float) -> str:
        """Only pre-training asks for it."""
        once, twice = drawn
        double = 2 * twice + (rng.choice((-1, 1)) if rng.random() < noise else 0)
        opener, total = rng.choice((" So", " Well")), once + double
        return f"{opener} {twice}+{twice} = {double} then {once}+{double} = {total} \\boxed{{{total}}}"
