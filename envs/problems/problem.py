"""What a problem is, and what a problem set offers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_ANSWER_CHARS = 1000
"""What an answer may have: a longer known answer is refused, and a longer final answer of a completion counts as none.

The longest known answer of the published benchmarks has 988 characters. Graders take a little longer for such texts
than for short ones, and stop at the same deadline.
"""


@dataclass(frozen=True)
class Problem:
    """One verifiable problem.

    Attributes:
        id: Unique within its problem set, stable between runs.
        text: The bare problem, without any prompt template around it.
        answer: A known-correct final answer. It passes the problem's own verifier.
        verifier: Name of the rule that judges an answer, see `aepo_rllib.envs.grading`.
        family: A label to group metrics by; empty when the set has one family.
        extra: What the verifier needs besides `answer`, such as the numbers of a Countdown problem.
        turns: (role, content) of what a chat says before the problem: a system turn, earlier questions and answers.
    """

    id: str
    text: str
    answer: str
    verifier: str = "math"
    family: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[tuple[str, str], ...] = ()

    @property
    def level(self) -> float | None:
        """How hard it is: `extra["level"]`, a number, also as "3" or "Level 3"; None where it has none."""
        level = self.extra.get("level")
        if isinstance(level, str) and (words := _LEVEL.fullmatch(level)):
            return float(words[1])
        known = isinstance(level, int | float) and not isinstance(level, bool) and abs(level) <= LARGEST_LEVEL
        return level if known else None


LARGEST_LEVEL = 1e9
_LEVEL = re.compile(r"\s*(?:level\s*)?([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*", re.IGNORECASE)
ProblemSet = Sequence[Problem]
"""Anything with `len()` and integer indexing is a problem set."""


class ProblemError(ValueError):
    """A problem set cannot be used; the message names the file, the line and the reason."""
