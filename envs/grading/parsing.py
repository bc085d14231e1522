"""From the text of an answer to its reading.

Each rule looks for one kind of thing and returns None for any other; the first that finds something decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from aepo_rllib.envs.grading import several, single
from aepo_rllib.envs.grading.chains import read_chain
from aepo_rllib.envs.grading.notation import normalize
from aepo_rllib.envs.grading.readings import Read, Reading, Unread
from aepo_rllib.envs.grading.words import unquoted, without_asides, without_introduction

_MAX_DEPTH = 16
_RULES: tuple[Callable[[str, Read], Reading | None], ...] = (
    single.word,
    single.choice,
    single.scaled_number,
    single.number_in_base,
    single.pair,
    single.congruence,
    several.matrix,
    several.listed,
    read_chain,
    several.union,
    several.known_set,
    several.transposed,
    several.bracketed,
    several.plus_minus,
    single.measured,
    single.expression,
)


@lru_cache(maxsize=2048)
def read(text: str) -> Reading:
    """The reading of an answer."""
    return _read(normalize(text), 0)


def _read(text: str, depth: int) -> Reading:
    """The reading of normalized text, a part `depth` times over of the whole."""
    text = without_introduction(unquoted(without_asides(text.strip())))
    for rule in _RULES if depth < _MAX_DEPTH else ():
        reading = rule(text, lambda part: _read(part, depth + 1))
        if reading is not None:
            return reading
    return Unread(re.sub(r"\s", "", text))
