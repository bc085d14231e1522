"""A graded sample, on its way from the filter through lm-eval to metrics and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aepo_rllib.envs.tally import Tally
from aepo_rllib.envs.verdict import Verdict


class GradedSample(NamedTuple):
    """What became of a completion; lm-eval writes it to its files as a list.

    Attributes:
        verdict: A value of `Verdict`.
        answer: The final answer, "" where there is none.
        truncated: Whether it was cut at the token limit; None where the model does not tell.
        tokens: Its length; None likewise.
        path: What correct samples with one content path share, see `aepo_rllib.envs.content_path`; "" for others.
    """

    verdict: str
    answer: str
    truncated: bool | None
    tokens: int | None
    path: str = ""

    @property
    def correct(self) -> bool:
        """Whether the answer is."""
        return self.verdict == Verdict.CORRECT.value


def tally_of(samples: Sequence[GradedSample]) -> Tally:
    """How often each answer, and each way to a correct one, is among the samples of a problem."""
    return Tally.of([one.answer for one in samples], [one.correct for one in samples], [one.path for one in samples])
