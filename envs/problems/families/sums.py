"""Plain sums: the total of numbers between 2 and 15."""

from __future__ import annotations

import random
from dataclasses import dataclass

from aepo_rllib.envs.problems.families.family import Family
from aepo_rllib.envs.problems.families.style import equations, fault, render, slip
from aepo_rllib.envs.problems.families.trees import Drawn, Node
from aepo_rllib.envs.problems.problem import Problem


@dataclass(frozen=True)
class Sum(Family[Drawn]):
    """Sums of so many numbers."""

    size: int

    @property
    def name(self) -> str:
        """With the size."""
        return f"sum{self.size}"

    def draw(self, rng: random.Random) -> Drawn:
        """Numbers and their sum, added up in a random order."""
        numbers = [rng.randint(2, 15) for _ in range(self.size)]
        tree, *rest = (Node(number) for number in rng.sample(numbers, self.size))
        for node in rest:
            tree = Node(tree.value + node.value, "+", tree, node)
        return Drawn(numbers, tree)

    def problem(self, drawn: Drawn) -> Problem:
        """The answer is the total."""
        numbers, tree = drawn
        return Problem(
            id=f"{self.name}:{'_'.join(map(str, numbers))}",
            text=f"Add {' '.join(map(str, numbers))}.",
            answer=str(tree.value),
            family=self.name,
        )

    def canonical(self, drawn: Drawn) -> str:
        """Sorted numbers and total."""
        return drawn.canonical()

    def trace(self, drawn: Drawn, rng: random.Random, noise: float, guesses: float = 0.0) -> str:
        """Number by number. Wrong ones have a slipped step, or a guessed total without steps."""
        wrong, answer = fault(rng, noise, guesses), str(drawn.tree.value)
        steps = equations(drawn.tree, rng)
        if wrong in ("slip", "plan"):
            position = rng.randrange(len(steps))
            steps[position] = slip(steps[position], rng)
            if position == len(steps) - 1:
                answer = steps[position].split("=")[1]
        elif wrong == "guess":
            steps, answer = [], slip(f"0={answer}", rng).split("=")[1]
        return render(steps, answer, rng)
