"""Procedural arithmetic: Countdown (many solutions) and plain sums, seeded and split by hash.

A Countdown problem asks for an expression that uses each given number once and equals a target; any valid
expression is right. Numbers are 1-9, operators + - *, and no intermediate value leaves 0-99. A sum asks for
the total of numbers between 2 and 15.

Train, validation and test problems are disjoint: a problem belongs to the split that the hash of its
canonical form (sorted numbers and target) names, so that no seed and no operand order can leak one.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from aepo_rllib.envs.problems.problem import Problem

LARGEST_VALUE = 99
SOLUTIONS_KEPT = 8
MAX_MISSES = 1000
FAMILY_WEIGHTS = {"countdown3": 5, "countdown4": 1, "sum3": 2, "sum4": 1}
SPLIT_SIZES = {"train": 4096, "validation": 128, "test": 96}
_SPLIT_PERCENT = {"train": range(0, 80), "validation": range(80, 90), "test": range(90, 100)}


@dataclass(frozen=True, slots=True)
class Node:
    """A binary expression tree; a leaf has no operator. `value` is exact."""

    value: int
    operator: str = ""
    left: Node | None = None
    right: Node | None = None

    def __str__(self) -> str:
        """The expression with as few parentheses as the usual precedence allows."""
        if self.left is None or self.right is None:
            return str(self.value)
        left, right = str(self.left), str(self.right)
        if self.operator == "*":
            left = f"({left})" if self.left.operator in ("+", "-") else left
            right = f"({right})" if self.right.operator in ("+", "-") else right
        elif self.operator == "-" and self.right.operator in ("+", "-"):
            right = f"({right})"
        return f"{left}{self.operator}{right}"


def combine(operator: str, left: Node, right: Node) -> Node | None:
    """The tree `left operator right`, or None when its value leaves 0-99."""
    value = {
        "+": left.value + right.value,
        "-": left.value - right.value,
        "*": left.value * right.value,
    }[operator]
    return Node(value, operator, left, right) if 0 <= value <= LARGEST_VALUE else None


def random_tree(numbers: list[int], rng: random.Random) -> Node | None:
    """A random expression over all `numbers`, or None when a drawn step leaves the allowed range."""
    nodes = [Node(number) for number in numbers]
    while len(nodes) > 1:
        left, right = (nodes.pop(rng.randrange(len(nodes))) for _ in range(2))
        node = combine(rng.choice("+-*"), left, right)
        if node is None:
            return None
        nodes.append(node)
    return nodes[0]


def split_of(numbers: list[int], target: int) -> str:
    """The split a problem belongs to, whatever the order of its numbers."""
    canonical = f"{sorted(numbers)}={target}".encode()
    percent = int.from_bytes(hashlib.sha256(canonical).digest()[:8], "big") % 100
    return next(name for name, percents in _SPLIT_PERCENT.items() if percent in percents)


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


def draw_countdown(size: int, rng: random.Random) -> tuple[list[int], Node]:
    """Numbers and one solution of a random Countdown problem.

    The target is uniform over what the numbers can reach. (The value of a random expression would favour targets
    with many solutions: easy ones.)
    """
    numbers = [rng.randint(1, 9) for _ in range(size)]
    trees_of = solutions(tuple(sorted(numbers)))
    target = rng.choice(sorted(trees_of))
    return numbers, mirrored(rng.choice(trees_of[target]), rng)


def mirrored(tree: Node, rng: random.Random) -> Node:
    """The same expression with the sides of every + and * in random order."""
    if tree.left is None or tree.right is None:
        return tree
    left, right = mirrored(tree.left, rng), mirrored(tree.right, rng)
    if tree.operator in "+*" and rng.random() < 0.5:
        left, right = right, left
    return Node(tree.value, tree.operator, left, right)


def draw_sum(size: int, rng: random.Random) -> tuple[list[int], Node]:
    """Numbers and their sum, added up in a random order."""
    numbers = [rng.randint(2, 15) for _ in range(size)]
    tree, *rest = (Node(number) for number in rng.sample(numbers, size))
    for node in rest:
        tree = Node(tree.value + node.value, "+", tree, node)
    return numbers, tree


def draw(family: str, split: str, rng: random.Random) -> tuple[list[int], Node]:
    """A random problem of `family` that belongs to `split`, with one solution."""
    size = int(family[-1])
    while True:
        numbers, tree = draw_countdown(size, rng) if family.startswith("countdown") else draw_sum(size, rng)
        if split_of(numbers, tree.value) == split:
            return numbers, tree


def make_problem(family: str, numbers: list[int], tree: Node) -> Problem:
    """The `Problem` for drawn numbers and a solution."""
    listed = " ".join(map(str, numbers))
    if family.startswith("countdown"):
        return Problem(
            id=f"{family}:{'_'.join(map(str, numbers))}={tree.value}",
            text=f"Make {tree.value} from {listed}.",
            answer=str(tree),
            verifier="countdown",
            family=family,
            extra={"numbers": tuple(numbers), "target": tree.value},
        )
    return Problem(
        id=f"{family}:{'_'.join(map(str, numbers))}",
        text=f"Add {listed}.",
        answer=str(tree.value),
        verifier="math",
        family=family,
    )


def arithmetic_problems(
    split: str = "train", *, families: dict[str, int] | None = None, size: int | None = None, seed: int = 0
) -> list[Problem]:
    """A seeded list of distinct arithmetic problems.

    Args:
        split: "train", "validation" or "test".
        families: Weight of each family; default `FAMILY_WEIGHTS`. Problems interleave in these proportions.
        size: How many problems; by default 4096, 128 or 96 by split, or fewer where a family has fewer.
        seed: Which ones.

    Raises:
        ValueError: unknown split or family, or more problems asked for than a family has.
    """
    if split not in _SPLIT_PERCENT:
        raise ValueError(f"unknown split {split!r}; choose one of {', '.join(_SPLIT_PERCENT)}")
    families = families or FAMILY_WEIGHTS
    if unknown := set(families) - set(FAMILY_WEIGHTS):
        raise ValueError(f"unknown family {sorted(unknown)}; choose from {', '.join(FAMILY_WEIGHTS)}")
    wheel = [family for family, weight in families.items() for _ in range(weight)]
    wanted = SPLIT_SIZES[split] if size is None else size
    rng = random.Random(f"{seed}/{split}")
    problems: dict[str, Problem] = {}
    misses = 0
    while len(problems) < wanted:
        family = wheel[len(problems) % len(wheel)]
        numbers, tree = draw(family, split, rng)
        problem = make_problem(family, numbers, tree)
        if problem.id in problems:
            misses += 1
            if misses <= MAX_MISSES:
                continue
            if size is None:  # a small family on its own: all it has
                break
            raise ValueError(f"{family} has fewer {split} problems than the {size} asked for")
        misses = 0
        problems[problem.id] = problem
    return list(problems.values())
