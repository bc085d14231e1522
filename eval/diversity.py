"""How many different answers, and ways to correct ones, a problem's samples hold: means over problems.

Shape suffixes: P problems, K values of k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aepo_rllib.envs.rarefaction import harmonic
from aepo_rllib.envs.tally import Tally
from aepo_rllib.eval.passk import Bounds, PassAtKCurve, curve_over_problems


@dataclass(frozen=True)
class Measure:
    """Something that is measured for every problem, at each k or once.

    Attributes:
        at_k: Its value for a problem at k; where it has one value this is what the samples show at any k.
        one: Whether it has one value, whatever k is.
        most: What no value is above, for problems with such tallies, at k.
    """

    at_k: Callable[[Tally, int], float]
    one: bool
    most: Callable[[Sequence[Tally], int], float]

    def ks(self, ks: Sequence[int]) -> tuple[int, ...]:
        """The columns of its tables: those values of k, or one."""
        return (1,) if self.one else tuple(ks)

    def table(self, tallies: Sequence[Tally], ks: Sequence[int]) -> np.ndarray:
        """Its value for every problem (P, K), nan where there are too few samples; see `Measure.ks`."""
        columns = [
            [self._value(tally, k) for tally in tallies] for k in self.ks(ks)
        ]  # equal k together: see `rarefaction`
        return np.array(columns, dtype=float).reshape(len(columns), len(tallies)).T

    def bounds(self, tallies: Sequence[Tally], ks: Sequence[int]) -> Bounds:
        """What no value is below or above, at each k."""
        return 0.0, np.array([self.most(tallies, k) for k in self.ks(ks)])

    def curve(self, tallies: Sequence[Tally], ks: Sequence[int]) -> PassAtKCurve:
        """Mean over problems with standard error and 95 % interval."""
        return curve_over_problems(self.table(tallies, ks), self.ks(ks), bounds=self.bounds(tallies, ks))

    def _value(self, tally: Tally, k: int) -> float:
        return self.at_k(tally, k) if tally.n >= (2 if self.one else k) else math.nan


def _distinct(at_k: Callable[[Tally, int], float], counts: Callable[[Tally], Sequence[int]]) -> Measure:
    # No problem has shown more kinds than this, so that of problems with one correct answer each all is as in pass@k.
    return Measure(at_k, one=False, most=lambda tallies, k: min(k, max([1, *(len(counts(t)) for t in tallies)])))


def _once(value: Callable[[Tally], float]) -> Measure:
    # The largest estimate there is: of as many samples that are all different.
    return Measure(
        lambda tally, _: value(tally), one=True, most=lambda tallies, _: harmonic(max([2, *(t.n for t in tallies)]) - 1)
    )


MEASURES: Mapping[str, Measure] = {
    "answers": _distinct(Tally.distinct_answers, lambda tally: tally.answers),
    "correct_answers": _distinct(Tally.distinct_correct_answers, lambda tally: tally.correct_answers),
    "correct_paths": _distinct(Tally.distinct_correct_paths, lambda tally: tally.correct_paths),
    "answer_entropy": _once(Tally.answer_entropy),
    "answer_entropy_plug_in": _once(Tally.plug_in_answer_entropy),
}
"""By their names in reports: expected numbers of different things among k samples, and entropies in nats."""
PATH_DIVERSITY = "path_diversity"


def path_diversity(tallies: Sequence[Tally]) -> tuple[int, PassAtKCurve] | None:
    """Share of pairs of correct samples that differ in their paths, see `Tally.path_diversity`.

    Returns:
        The number of problems with two correct samples, and the mean over them; None where there are none.
    """
    shares = [[share] for tally in tallies if (share := tally.path_diversity()) is not None]
    return (len(shares), curve_over_problems(np.array(shares), (1,))) if shares else None
