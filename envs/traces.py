"""Problems with worked solutions: what the embedded model is pre-trained on."""

from __future__ import annotations

import inspect
import random

from aepo_rllib.envs.problems.families import draw_of_split, find_family
from aepo_rllib.envs.problems.families.style import STYLE_WORDS

__all__ = ["NOISE", "STYLE_WORDS", "draw_trace"]

NOISE = 0.3
"""Share of pre-training traces that go wrong: a wrong plan, a slipped step, or a guess without steps."""


def draw_trace(family: str, rng: random.Random, noise: float = NOISE, guesses: float = 0.0) -> tuple[str, str]:
    """A problem text and one worked solution for it.

    Args:
        family: See `aepo_rllib.envs.problems.families.find_family`.
        rng: Every random choice is by it.
        noise: With which probability the solution goes wrong; that of a chain, at each of its links.
        guesses: With which probability it is a guess instead, without steps; likewise.

    Raises:
        ValueError: unknown family, or one whose traces know no guesses where they are asked for.
    """
    found = find_family(family)
    if guesses and "guesses" not in inspect.signature(found.trace).parameters:
        raise ValueError(f"problem family {family}: its traces know no guesses; let its `trace` take such an argument")
    drawn = draw_of_split(found, found.read_split, rng)
    shares = (noise, guesses) if guesses else (noise,)
    return found.problem(drawn).text, found.trace(drawn, rng, *shares)
