"""Problems with worked solutions: what the embedded model is pre-trained on."""

from __future__ import annotations

import random

from aepo_rllib.envs.problems.families import draw_of_split, find_family
from aepo_rllib.envs.problems.families.style import STYLE_WORDS

__all__ = ["NOISE", "STYLE_WORDS", "draw_trace"]

NOISE = 0.3
"""Share of pre-training traces that go wrong: a wrong plan, a slipped step, or a guess without steps."""


def draw_trace(family: str, split: str, rng: random.Random, noise: float = NOISE) -> tuple[str, str]:
    """A problem text and one worked solution for it, wrong with probability about `noise`.

    Raises:
        ValueError: unknown family, see `aepo_rllib.envs.problems.families.find_family`.
    """
    found = find_family(family)
    drawn = draw_of_split(found, split, rng)
    return found.problem(drawn).text, found.trace(drawn, rng, noise)
