"""What a problem is, and what a problem set offers."""

from __future__ import annotations

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
    def level(self) -> int | None:
        """How hard it is among others of its kind, from 1: `extra["level"]`; None where it has no such level."""
        level = self.extra.get("level")
        return level if isinstance(level, int) and not isinstance(level, bool) else None


ProblemSet = Sequence[Problem]
"""Anything with `len()` and integer indexing is a problem set."""


class ProblemError(ValueError):
    """A problem set cannot be used; the message names the file, the line and the reason."""
