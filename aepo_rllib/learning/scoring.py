"""Figures of given completions from learners, who take them in passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aepo_rllib.experience.passes import Passes, PassLimit, passes_of
from aepo_rllib.experience.rows import Row
from aepo_rllib.rollout.engine import Sequences

Figures = dict[str, np.ndarray]
"""Of one completion by column name, each (completion tokens,)."""


def scored_in_passes(
    sequences: Sequences,
    limit: PassLimit,
    ask: Callable[[list[Passes]], Sequence[list[Figures]]],
    *,
    learners: int = 1,
) -> list[Figures]:
    """Have learners share sequences; neighbours, which may share their prompt, stay together.

    Args:
        sequences: Prompts and completions.
        limit: Of a pass.
        ask: Gives the figures of every learner's rows, pass after pass.
        learners: Their number.

    Returns:
        Figures in the order of the sequences.
    """
    rows = [Row(prompt, np.array(ids), np.zeros(len(ids), np.float32), 0.0) for prompt, ids in sequences]
    shares = [[rows[place] for place in part] for part in np.array_split(np.arange(len(rows)), learners)]
    passes = passes_of(shares, limit)
    found = {
        id(row): figures
        for parts, answer in zip(passes, ask(passes), strict=True)
        for row, figures in zip((row for part in parts for row in part), answer, strict=True)
    }
    return [found[id(row)] for row in rows]
