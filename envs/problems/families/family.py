"""What a procedural family of problems is: drawn at random, without end, and split by a hash.

Train, validation and test problems are disjoint: a problem belongs to the split that the hash of its canonical form
names, so that no seed and no other way to write the same problem can leak one.
"""

from __future__ import annotations

import abc
import hashlib
import random
from typing import ClassVar, Generic, TypeVar

from aepo_rllib.envs.problems.problem import Problem, ProblemError

SPLIT_PERCENT = {"train": range(0, 80), "validation": range(80, 90), "test": range(90, 100)}
MAX_DRAWS = 10_000
"""A family that draws so many problems without one of a split has none of it."""

D = TypeVar("D")
"""What a family draws: all that it needs to write a problem down, and to solve it."""


class Family(abc.ABC, Generic[D]):
    """A procedural family of problems. It keeps no state: what it draws depends on the generator alone.

    Attributes:
        read_split: The split whose solutions a base model reads. Where it is "train", reinforcement learning meets
            problems that the model knows already.
    """

    read_split: ClassVar[str] = "train"

    @property
    def name(self) -> str:
        """Label in metrics; by default the class's name."""
        return type(self).__name__

    @abc.abstractmethod
    def draw(self, rng: random.Random) -> D:
        """A random problem of any split, in whatever form is handy; every random choice by `rng`."""

    @abc.abstractmethod
    def problem(self, drawn: D) -> Problem:
        """The problem for what was drawn, the same each time. Equal ids are one problem."""

    def canonical(self, drawn: D) -> str:
        """What two ways to write one problem have in common; its hash names the split. By default the text."""
        return self.problem(drawn).text

    def split(self, drawn: D) -> str:
        """The split that it belongs to: "train", "validation" or "test", or `read_split` where that is one of its own;
        by default that of its canonical form.
        """
        return split_of(self.canonical(drawn))

    def trace(self, drawn: D, rng: random.Random, noise: float, guesses: float = 0.0) -> str:
        """A worked solution for pre-training; by default the bare answer.

        Args:
            drawn: The problem.
            rng: Every random choice is by it.
            noise: With which probability it goes wrong; where several sub-answers have to be right, each of them.
            guesses: With which probability it is a guess without steps; likewise. A family of the user's may do without
                this argument.
        """
        return f" \\boxed{{{self.problem(drawn).answer}}}"


def split_of(canonical: str) -> str:
    """The split of a problem with this canonical form."""
    percent = percent_of(canonical)
    return next(name for name, percents in SPLIT_PERCENT.items() if percent in percents)


def percent_of(text: str) -> int:
    """0 to 99, by a hash of the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100


def draw_of_split(family: Family[D], split: str, rng: random.Random) -> D:
    """What the family draws for a random problem of this split.

    Raises:
        ProblemError: it draws none.
    """
    for _ in range(MAX_DRAWS):
        drawn = family.draw(rng)
        if family.split(drawn) == split:
            return drawn
    raise ProblemError(f"problem family {family.name}: of {MAX_DRAWS} problems that it drew none is for {split}")
