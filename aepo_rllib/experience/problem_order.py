"""Which problems a training step draws, and an evaluation: pure functions of seed and step, or of the place."""

from __future__ import annotations

import numpy as np

from aepo_rllib.experience.curriculum import Curriculum

EVALUATION_SEEDS, ALL_SEEDS = 2**20, 2**31
"""Where an environment draws its problems by a seed: evaluation has the seeds below the first number, training those
from there to below the second (`random.seed` and numpy's old generators take no larger ones)."""


def problems_of_step(
    step: int,
    *,
    batch_size: int,
    problem_count: int | None,
    seed: int,
    attempt: int = 0,
    curriculum: Curriculum | None = None,
) -> list[int]:
    """Problems of a training step.

    Epochs are seeded permutations laid end to end, so every problem comes once per epoch, a step may cross the
    border of two, and resuming at any step needs no state.

    Args:
        step: Training step.
        batch_size: Problems of each step.
        problem_count: How many there are; None where the environment draws them by seeds, without end.
        seed: Of the run.
        attempt: Further ones of the same step have an order of their own.
        curriculum: Which are open; its stages have epochs of their own.

    Returns:
        Problem indices, or seeds.
    """
    if curriculum is not None:
        first, problems = curriculum.stage(step)
        open_count = len(problems)
        places = problems_of_step(
            step - first, batch_size=batch_size, problem_count=open_count, seed=seed, attempt=attempt
        )
        return [problems[place] for place in places]
    own = [attempt] if attempt else []
    if problem_count is None:
        generator = np.random.default_rng([seed, step, *own])
        seeds: list[int] = generator.integers(EVALUATION_SEEDS, ALL_SEEDS, size=batch_size).tolist()
        return seeds
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: np.random.default_rng([seed, epoch, *own]).permutation(problem_count)
        for epoch in np.unique(positions // problem_count).tolist()
    }
    return [int(orders[p // problem_count][p % problem_count]) for p in positions.tolist()]


def evaluation_problem(place: int, problem_count: int | None) -> int:
    """The problem at a place of an evaluation, an index or a seed: the same in every run."""
    return place % (EVALUATION_SEEDS if problem_count is None else problem_count)
