"""Worked solutions in many styles: the text that the embedded model learns to write.

A trace is `opener step connective step ... closing \\boxed{answer}`. Its *style* (opener, connectives, the verb
for "=", fillers, closing, the order of independent steps) is drawn independently of whether the solution is
right, as in natural text. That independence is what gives the entropy dial its grip: correct samples of a hotter
policy carry the hotter style in full, whereas their content is pinned down by the problem.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from aepo_rllib.envs.problems.families.trees import LARGEST_VALUE, Node

OPENERS = ("", " Okay", " Well", " So", " Right", " Hmm", " Sure", " Look")
CONNECTIVES = (" then", " next", " now", " and", " also", " after", " again", " further")
VERBS = (" =", " gives", " makes", " is", " equals", " yields")
FILLERS_BEFORE = ("", "", " maybe", " say", " try", " take", " perhaps", " consider")
FILLERS_AFTER = ("", "", " fine", " good", " nice", " yes", " great", " okay")
CLOSINGS = (" Answer", " Result", " Done", " Finally", " Thus", " Hence", " Therefore", " Conclusion")
STYLE_WORDS = frozenset(
    word for words in (OPENERS, CONNECTIVES, VERBS, FILLERS_BEFORE, FILLERS_AFTER, CLOSINGS) for word in words if word
)


def render(steps: list[str], answer: str, rng: random.Random, *, fillers: bool = True) -> str:
    """A trace in a random style.

    Args:
        steps: Equations, `=` standing for the verb.
        answer: What goes into the box.
        rng: Draws the style.
        fillers: Whether words stand around the steps too.
    """
    parts = [rng.choice(OPENERS)]
    for number, step in enumerate(steps):
        if number:
            parts.append(rng.choice(CONNECTIVES))
        left, right = step.split("=")
        parts += [
            rng.choice(FILLERS_BEFORE) if fillers else "",
            f" {left}",
            rng.choice(VERBS),
            f" {right}",
            rng.choice(FILLERS_AFTER) if fillers else "",
        ]
    parts += [rng.choice(CLOSINGS), f" \\boxed{{{answer}}}"]
    return "".join(parts)


def equations(tree: Node, rng: random.Random) -> list[str]:
    """The steps of `tree` as equations such as `3*5=15`, independent ones in random order."""
    return [
        f"{node.left.value}{node.operator}{node.right.value}={node.value}"
        for node in _steps_of(tree, rng)
        if node.left is not None and node.right is not None
    ]


def fault(rng: random.Random, noise: float, guesses: float = 0.0) -> str | None:
    """What goes wrong in a trace: "guess" with probability `guesses`, else with `noise` "plan", "slip" or "guess"."""
    if guesses and rng.random() < guesses:  # where there are to be none, nothing is drawn
        return "guess"
    return rng.choice(("plan", "plan", "slip", "guess")) if rng.random() < noise else None


def slip(step: str, rng: random.Random) -> str:
    """The same equation with a wrong result."""
    left, right = step.split("=")
    wrong = min(max(int(right) + rng.choice((-10, -2, -1, 1, 2, 10)), 0), LARGEST_VALUE)
    return f"{left}={wrong}"


def _steps_of(tree: Node, rng: random.Random) -> Iterator[Node]:
    """The inner nodes of `tree`, children first, independent branches in random order."""
    if tree.left is None or tree.right is None:
        return
    for child in rng.sample([tree.left, tree.right], 2):
        yield from _steps_of(child, rng)
    yield tree
