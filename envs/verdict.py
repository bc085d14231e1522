"""What grading one completion can end in."""

from __future__ import annotations

import enum


class Verdict(str, enum.Enum):
    """The outcome of grading one completion. Compare it, or read `reward`; never test its truth."""

    CORRECT = "correct"
    """The final answer was read, judged, and equals the known answer."""
    WRONG = "wrong"
    """The final answer was read, judged, and differs from the known answer."""
    NO_ANSWER = "no_answer"
    """The completion states no final answer. That is the model's failing: an ordinary zero."""
    TIMED_OUT = "timed_out"
    """Judging was stopped at the deadline, also when tried again, alone. Nothing is known about the answer.

    Of many such answers in one call only the first few are tried again.
    """
    CRASHED = "grader_crashed"
    """Judging failed twice without reaching a verdict. Nothing is known about the answer."""

    @property
    def reward(self) -> float:
        """1.0 for a correct answer, 0.0 for everything else."""
        return 1.0 if self is Verdict.CORRECT else 0.0

    @property
    def usable(self) -> bool:
        """Whether the reward says something about the completion.

        False for a grader that timed out or crashed: such rows leave both the baseline and the loss.
        """
        return self not in (Verdict.TIMED_OUT, Verdict.CRASHED)
