"""`Curriculum`: which problems are open at a training step, a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Stage(NamedTuple):
    """Steps between two levels that join.

    Attributes:
        first_step: Its first.
        problems: Indices of those that are open.
    """

    first_step: int
    problems: list[int]


class Curriculum:
    """Levels join one after the other, at equal distances, the easiest first.

    Problems without a level are open from the first step on.

    Args:
        levels: Of all problems, in their order.
        steps: After so many the last level joins.

    Raises:
        ValueError: there are fewer than two levels.
    """

    def __init__(self, levels: Sequence[float | None], steps: int) -> None:
        known = sorted({level for level in levels if level is not None})
        if len(known) < 2:
            found = f"level {known[0]:g} alone" if known else "none"
            raise ValueError(
                f"curriculum_steps={steps} needs problems of several levels, and these have {found}; a level is a "
                "number in a problem's extra (docs/problems.md)"
            )
        self._levels = list(levels)
        self.joins = {level: math.ceil(steps * place / (len(known) - 1)) for place, level in enumerate(known)}
        """After how many steps every level does."""

    def stage(self, step: int) -> Stage:
        """What is open after so many steps."""
        first, most = max((first, level) for level, first in self.joins.items() if first <= step)
        return Stage(first, [i for i, level in enumerate(self._levels) if level is None or level <= most])
