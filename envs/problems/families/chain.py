"""Chains: several Countdown problems in one, all of which have to be right.

`Make 24*15 from 3 8 1 and 2 7 6.` asks for one expression over all numbers that makes the product. The factors are its
*links*, a Countdown problem each, so a completion has to get every one of them right, and the chance to do so falls
geometrically with the number of links, the *level*. The rule for Countdown judges it as it is: so large a product is
hardly ever made by links that are wrong.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import ClassVar, TypeAlias

from aepo_rllib.envs.problems.families.countdown import solutions
from aepo_rllib.envs.problems.families.family import Family, percent_of, split_of
from aepo_rllib.envs.problems.families.style import equations, render
from aepo_rllib.envs.problems.families.trees import Drawn, Node, mirrored, random_tree
from aepo_rllib.envs.problems.problem import Problem

NUMBERS = 3
"""Of a link."""
LARGEST_NUMBER = 12
SMALLEST_TARGET = 11
"""Of a link. Small factors would let other links have the same product."""
READ, READ_PERCENT = "read", 50
"""The split of links that base models read solutions of, and its share of what would be for training."""
Links: TypeAlias = tuple[Drawn, ...]


@dataclass(frozen=True)
class Chain(Family[Links]):
    """Chains of so many links."""

    level: int
    read_split: ClassVar[str] = READ

    @property
    def name(self) -> str:
        """With the level."""
        return f"chain{self.level}"

    def draw(self, rng: random.Random) -> Links:
        """Links of one split, all different, each with a solution."""
        links = [_link(rng)]
        while len(links) < self.level:
            link = _link(rng)
            known = {other.canonical() for other in links}
            if link.canonical() not in known and _split(link) == _split(links[0]):
                links.append(link)
        return tuple(links)

    def problem(self, drawn: Links) -> Problem:
        """Its known answer are the solutions that were drawn."""
        numbers = [number for link in drawn for number in link.numbers]
        targets = [link.tree.value for link in drawn]
        shown = [" ".join(map(str, link.numbers)) for link in drawn]
        return Problem(
            id=f"{self.name}:{'*'.join(map(str, targets))}={'/'.join(text.replace(' ', '_') for text in shown)}",
            text=f"Make {'*'.join(map(str, targets))} from {' and '.join(shown)}.",
            answer=_product([link.tree for link in drawn]),
            verifier="countdown",
            family=self.name,
            extra={"numbers": tuple(numbers), "target": prod(targets), "level": self.level},
        )

    def canonical(self, drawn: Links) -> str:
        """The same in whatever order links and their numbers are shown."""
        return " ".join(sorted(link.canonical() for link in drawn))

    def split(self, drawn: Links) -> str:
        """That of its links: none of a test problem's has been seen in training, at any level, nor any of a training
        problem's in pre-training. (Were it otherwise, training would find again what the model has read, and nothing of
        that would help with other links.)
        """
        return _split(drawn[0])

    def trace(self, drawn: Links, rng: random.Random, noise: float, guesses: float = 0.0) -> str:
        """Link by link. One that goes wrong follows another plan, or is a guess without steps."""
        steps: list[str] = []
        trees: list[Node] = []
        for link in drawn:
            guess = rng.random() < guesses
            trees.append(_other_plan(link, rng) if guess or rng.random() < noise else link.tree)
            steps += [] if guess else equations(trees[-1], rng)
        return render(steps, _product(trees), rng, fillers=False)


def _link(rng: random.Random) -> Drawn:
    """Numbers and one solution, the target uniform over what they reach."""
    while True:
        numbers = [rng.randint(1, LARGEST_NUMBER) for _ in range(NUMBERS)]
        if targets := _targets(tuple(sorted(numbers))):
            trees = solutions(tuple(sorted(numbers)))[rng.choice(targets)]
            return Drawn(numbers, mirrored(rng.choice(trees), rng))


@cache
def _targets(numbers: tuple[int, ...]) -> list[int]:
    return [target for target in sorted(solutions(numbers)) if target >= SMALLEST_TARGET]


def _split(link: Drawn) -> str:
    canonical = link.canonical()
    split = split_of(canonical)
    return READ if split == "train" and percent_of(f"read {canonical}") < READ_PERCENT else split


def _product(trees: list[Node]) -> str:
    """The links' expressions, multiplied."""
    whole, *rest = trees
    for tree in rest:
        whole = Node(whole.value * tree.value, "*", whole, tree)
    return str(whole)


def _other_plan(link: Drawn, rng: random.Random) -> Node:
    """An expression over the same numbers that misses the target. (The sum or a product of three numbers does.)"""
    while True:
        other = random_tree(link.numbers, rng)
        if other is not None and other.value != link.tree.value:
            return other
