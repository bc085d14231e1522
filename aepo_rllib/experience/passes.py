"""Forward and backward passes of a learner: how the rows of an optimizer step are cut where they do not fit at once.

Passes are cut where batches are dealt, for all learners together: learners that share their weights gather them in
every pass, so that all have to take equally many. Gradients of a step's passes add up, and no cut changes their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from aepo_rllib.experience.dealing import Shares
from aepo_rllib.experience.rows import EMPTY, Row

Passes = list[list[Row]]
"""The rows of one learner, pass by pass."""


class PassLimit(NamedTuple):
    """What one pass may hold.

    Attributes:
        rows: Most completions; None for all.
        tokens: Most tokens, padding included; a completion that has more goes alone. None for any number.
        share_prompts: Whether rows of one prompt run it once.
    """

    rows: int | None = None
    tokens: int | None = None
    share_prompts: bool = True

    def cost(self, rows: Sequence[Row]) -> int:
        """Tokens that go through the model, padding included."""
        longest = max((len(row.completion_ids) for row in rows), default=0)
        prompts = {_prompt(row): len(row.prompt_ids) for row in rows} if self.share_prompts else rows
        width = max((len(row.prompt_ids) for row in rows), default=0)
        return len(rows) * longest + len(prompts) * width

    def admits(self, rows: Sequence[Row]) -> bool:
        """Whether these rows may go together."""
        return (self.rows is None or len(rows) <= self.rows) and (self.tokens is None or self.cost(rows) <= self.tokens)


def passes_of(shares: Shares, limit: PassLimit) -> list[Passes]:
    """The passes of every learner, equally many; a learner that has fewer takes part in the last ones without a row."""
    cut = [cut_rows(rows, limit) or [[]] for rows in shares]
    most = max(map(len, cut), default=0)
    return [[rows or [EMPTY] for rows in [*passes, *[[]] * (most - len(passes))]] for passes in cut]


def cut_rows(rows: Sequence[Row], limit: PassLimit) -> Passes:
    """Rows in as few passes as the limit allows, roughly; each keeps the order of its rows.

    By rows alone, neighbours stay together. By tokens, those of like length do, group by group or one by one, whichever
    sends fewer tokens through the model: prompts that are shared against padding that is saved.
    """
    if limit.tokens is None:
        size = limit.rows or max(len(rows), 1)
        return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
    groups = [list(group) for _, group in groupby(rows, key=_prompt)]
    packings = [_packed(_units(groups, limit), limit), _packed([[row] for row in rows], limit)]
    best = min(packings, key=lambda packing: sum(map(limit.cost, packing)))
    place = {id(row): number for number, row in enumerate(rows)}
    return [sorted(part, key=lambda row: place[id(row)]) for part in best]


def _units(groups: Iterable[list[Row]], limit: PassLimit) -> Passes:
    """Groups, and parts of those that are too large."""
    units: Passes = []
    for group in groups:
        units += [group] if limit.admits(group) else _packed([[row] for row in group], limit)
    return units


def _packed(units: Passes, limit: PassLimit) -> Passes:
    """First fit, the longest first: a pass is as wide as its first unit, and takes what is like it."""
    passes: Passes = []
    for unit in sorted(units, key=lambda unit: -max(len(row.completion_ids) for row in unit)):
        fitting = next((part for part in passes if limit.admits([*part, *unit])), None)
        if fitting is None:
            passes.append(list(unit))
        else:
            fitting += unit
    return passes


def _prompt(row: Row) -> tuple[int, ...]:
    return tuple(row.prompt_ids)
