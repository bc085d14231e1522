"""`SolvedGate`: problems that are solved already weigh less, or nothing.

What a problem still adds to pass@k fades with the share p of its completions that are right: d pass@k / dp =
k (1 - p)^(k - 1). Learning goes on sharpening it all the same, which is how pass@k falls at large k while pass@1 rises
(Yuan et al., arXiv 2606.15455). With m of n completions right, p has the law Beta(m + 1, n - m + 1), and the mean of
that slope, as a share of what it is where none was right, is

    w(m, n) = prod_{j=1}^{k-1} (n - m + j) / (n + j)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

from aepo_rllib import metrics
from aepo_rllib.experience.groups import Groups, problem_of
from aepo_rllib.experience.rows import Row, RowGroups


class Count(NamedTuple):
    """Of a problem's judged completions.

    Attributes:
        right: Those that are rewarded.
        judged: All.
    """

    right: int = 0
    judged: int = 0

    def plus(self, other: Count) -> Count:
        """Both together."""
        return Count(self.right + other.right, self.judged + other.judged)


Counts = Mapping[str, Count]
"""By problem id."""
BATCH, HISTORY, BOTH = "batch", "history", "both"


def left_at(count: Count, k: int) -> float:
    """w(m, n): what a problem still adds to pass@k, 1 where nobody has solved it."""
    wrong = count.judged - count.right
    return math.exp(_log_rising(wrong, k) - _log_rising(count.judged, k))


class SolvedGate:
    """Weighs problems by how solved they are.

    Args:
        share: Problems of which a larger share is right weigh 0; None: none does.
        k: The others weigh w(m, n); None: 1.
        by: Whose completions count: this step's ("batch"), those of the steps before ("history"), or "both".
    """

    def __init__(self, share: float | None, k: int | None, by: str = BATCH) -> None:
        self.share, self.k, self.by = share, k, by
        self.history: Counts = {}
        self.batch: Counts = {}

    def begin(self) -> None:
        """A training step begins: what was this step's is history, where anybody asks for it."""
        self.history = {} if self.by == BATCH else _sum(self.history, self.batch)
        self.batch = {}

    def see(self, groups: Groups) -> None:
        """Count main completions of this step."""
        right_P = ((groups.rewards_PG > 0) & groups.usable_PG).sum(1).tolist()
        batch = dict(self.batch)
        for episodes, right, judged in zip(groups.episodes_PG, right_P, groups.usable_PG.sum(1).tolist(), strict=True):
            problem = problem_of(episodes[0])
            batch[problem] = batch.get(problem, Count()).plus(Count(right, judged))
        self.batch = batch

    def weight(self, problem: str) -> float:
        """Of a problem, 0 to 1; 1 where nothing is known of it."""
        known = {BATCH: (self.batch,), HISTORY: (self.history,), BOTH: (self.history, self.batch)}[self.by]
        count = Count()
        for counts in known:
            count = count.plus(counts.get(problem, Count()))
        if self.share is not None and count.right > self.share * count.judged:
            return 0.0
        return 1.0 if self.k is None else left_at(count, self.k)

    def weighed(self, groups: RowGroups) -> tuple[RowGroups, dict[str, float]]:
        """Rows whose advantages are multiplied by the weight of their problem.

        Returns:
            The rows, and by metric: the share of groups that weigh 0, and the mean weight of all.
        """
        weights = [self.weight(group[0].problem_id) for group in groups if group]
        rows = [[_times(row, self.weight(row.problem_id)) for row in group] for group in groups]
        if not weights:
            return rows, {}
        gated, mean = fmean([weight == 0 for weight in weights]), fmean(weights)
        return rows, {metrics.GATED_SHARE: gated, metrics.GATE_WEIGHT: mean}

    def get_state(self) -> dict[str, Any]:
        """The counts."""
        return {"history": self.history, "batch": self.batch}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Undo `get_state`."""
        self.history, self.batch = state["history"], state["batch"]


def _log_rising(start: int, k: int) -> float:
    """log prod_{j=1}^{k-1} (start + j)."""
    return math.lgamma(start + k) - math.lgamma(start + 1)


def _sum(one: Counts, other: Counts) -> Counts:
    """Counts of both; a new mapping, so that a state that was given away stays what it was."""
    return {**one, **{problem: count.plus(one.get(problem, Count())) for problem, count in other.items()}}


def _times(row: Row, weight: float) -> Row:
    return row if weight == 1 else replace(row, advantage=row.advantage * weight)
