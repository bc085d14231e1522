"""Which problems a training step draws: a pure function of the seed and the step."""

from __future__ import annotations

import numpy as np


def problems_of_step(step: int, *, batch_size: int, problem_count: int, seed: int) -> list[int]:
    """Problem indices of a training step.

    Epochs are seeded permutations laid end to end, so every problem comes once per epoch, a step may cross the
    border of two, and resuming at any step needs no state.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: np.random.default_rng([seed, epoch]).permutation(problem_count)
        for epoch in np.unique(positions // problem_count).tolist()
    }
    return [int(orders[p // problem_count][p % problem_count]) for p in positions.tolist()]
