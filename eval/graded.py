"""A graded sample, on its way from the filter through lm-eval to metrics and reports."""

from __future__ import annotations

from typing import NamedTuple

from aepo_rllib.envs.verdict import Verdict


class GradedSample(NamedTuple):
    """What became of a completion; lm-eval writes it to its files as a list.

    Attributes:
        verdict: A value of `Verdict`.
        answer: The final answer, "" where there is none.
        truncated: Whether it was cut at the token limit; None where the model does not tell.
        tokens: Its length; None likewise.
    """

    verdict: str
    answer: str
    truncated: bool | None
    tokens: int | None

    @property
    def correct(self) -> bool:
        """Whether the answer is."""
        return self.verdict == Verdict.CORRECT.value
