"""Countdown: make a target from given numbers. Many solutions, any of which is right.

Numbers are 1-9, operators + - *, each number is used once, and no intermediate value leaves 0-99.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from aepo_rllib.envs.problems.families.family import Family
from aepo_rllib.envs.problems.families.style import equations, fault, render, slip
from aepo_rllib.envs.problems.families.trees import Drawn, Node, combine, mirrored, random_tree
from aepo_rllib.envs.problems.problem import Problem

SOLUTIONS_KEPT = 8


@dataclass(frozen=True)
class Countdown(Family[Drawn]):
    """Problems with so many numbers."""

    size: int

    @property
    def name(self) -> str:
        """With the size."""
        return f"countdown{self.size}"

    def draw(self, rng: random.Random) -> Drawn:
        """Numbers and one solution.

        The target is uniform over what the numbers can reach. (The value of a random expression would favour targets
        with many solutions: easy ones.)
        """
        numbers = [rng.randint(1, 9) for _ in range(self.size)]
        trees_of = solutions(tuple(sorted(numbers)))
        target = rng.choice(sorted(trees_of))
        return Drawn(numbers, mirrored(rng.choice(trees_of[target]), rng))

    def problem(self, drawn: Drawn) -> Problem:
        """Its known answer is the solution that was drawn."""
        numbers, tree = drawn
        return Problem(
            id=f"{self.name}:{'_'.join(map(str, numbers))}={tree.value}",
            text=f"Make {tree.value} from {' '.join(map(str, numbers))}.",
            answer=str(tree),
            verifier="countdown",
            family=self.name,
            extra={"numbers": tuple(numbers), "target": tree.value},
        )

    def canonical(self, drawn: Drawn) -> str:
        """Sorted numbers and target."""
        return drawn.canonical()

    def trace(self, drawn: Drawn, rng: random.Random, noise: float, guesses: float = 0.0) -> str:
        """The solution step by step. Wrong ones have another plan, a slipped step, or no steps at all."""
        wrong, tree = fault(rng, noise, guesses), drawn.tree
        if wrong in ("plan", "guess"):
            tree = _other_plan(drawn, rng)
        steps = equations(tree, rng)
        if wrong == "slip":
            position = rng.randrange(len(steps))
            steps[position] = slip(steps[position], rng)
        return render([] if wrong == "guess" else steps, str(tree), rng)


@cache
def solutions(numbers: tuple[int, ...]) -> dict[int, list[Node]]:
    """Reachable targets (1-99) of sorted numbers, each with up to `SOLUTIONS_KEPT` random expressions for it."""
    rng = random.Random(str(numbers))
    kept: dict[int, list[Node]] = {}
    seen: Counter[int] = Counter()
    for tree in _all_trees(tuple(map(Node, numbers))):
        if tree.value == 0:
            continue
        trees = kept.setdefault(tree.value, [])
        seen[tree.value] += 1
        if len(trees) < SOLUTIONS_KEPT:
            trees.append(tree)
        elif (place := rng.randrange(seen[tree.value])) < SOLUTIONS_KEPT:  # reservoir sampling
            trees[place] = tree
    return kept


def _all_trees(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """Every expression over all `nodes`, once per way to build it."""
    if len(nodes) == 1:
        yield nodes[0]
        return
    for i, j in combinations(range(len(nodes)), 2):
        rest = tuple(node for place, node in enumerate(nodes) if place not in (i, j))
        for operator, left, right in (("+", i, j), ("*", i, j), ("-", i, j), ("-", j, i)):
            if (node := combine(operator, nodes[left], nodes[right])) is not None:
                yield from _all_trees((*rest, node))


def _other_plan(drawn: Drawn, rng: random.Random) -> Node:
    """Another expression over the same numbers; it misses the target unless chance helps."""
    for _ in range(20):
        other = random_tree(drawn.numbers, rng)
        if other is not None:
            return other
    return drawn.tree
