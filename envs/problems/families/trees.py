"""Expressions over small numbers as trees: what arithmetic families draw."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

LARGEST_VALUE = 99


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


class Drawn(NamedTuple):
    """Numbers as they are shown, and an expression over each of them once: a problem with a solution."""

    numbers: list[int]
    tree: Node

    def canonical(self) -> str:
        """The same in whatever order the numbers are shown."""
        return f"{sorted(self.numbers)}={self.tree.value}"


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


def mirrored(tree: Node, rng: random.Random) -> Node:
    """The same expression with the sides of every + and * in random order."""
    if tree.left is None or tree.right is None:
        return tree
    left, right = mirrored(tree.left, rng), mirrored(tree.right, rng)
    if tree.operator in "+*" and rng.random() < 0.5:
        left, right = right, left
    return Node(tree.value, tree.operator, left, right)
