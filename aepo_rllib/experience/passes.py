"""Forward and backward passes of a learner: how the rows of an optimizer step are cut where they do not fit at once.

Passes are cut where batches are dealt, for all learners together: learners that share their weights gather them in
every pass, so that all have to take equally many. Gradients of a step's passes add up, and no cut changes their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
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


def passes_of(shares: Shares, limit: PassLimit) -> list[Passes]:
    """The passes of every learner, equally many; a learner that has fewer takes part in the last ones without a row."""
    cut = [cut_rows(rows, limit) or [[]] for rows in shares]
    most = max(map(len, cut), default=0)
    return [[rows or [EMPTY] for rows in [*passes, *[[]] * (most - len(passes))]] for passes in cut]


def cut_rows(rows: Sequence[Row], limit: PassLimit) -> Passes:
    """Rows in as few passes as the limit allows, roughly; each keeps the order of its rows.

    By rows alone, neighbours stay together. By tokens, those of like length do, group by group or one by one, whatever
    sends fewest tokens through the model: prompts that are shared against padding that is saved.
    """
    if limit.tokens is None:
        size = limit.rows or max(len(rows), 1)
        return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
    number_of: dict[tuple[int, ...], int] = {}
    single = []
    for place, row in enumerate(rows):
        prompt = number_of.setdefault(tuple(row.prompt_ids), len(number_of))
        single.append(_Pack([place], len(row.completion_ids), len(row.prompt_ids), {prompt}))
    packings = [_packed(_groups(single, limit), limit), _packed(single, limit), _filled(single, limit)]
    best = min(packings, key=lambda packing: sum(pack.cost(limit) for pack in packing))
    return [[rows[place] for place in sorted(pack.places)] for pack in best]


class _Pack(NamedTuple):
    """Rows that go together: their places, the longest completion and prompt in tokens, and their distinct prompts."""

    places: list[int]
    longest: int
    width: int
    prompts: set[int]

    def cost(self, limit: PassLimit) -> int:
        """As the limit's, of rows."""
        rows = len(self.places)
        return rows * self.longest + (len(self.prompts) if limit.share_prompts else rows) * self.width

    def fits(self, limit: PassLimit) -> bool:
        """Whether the limit admits them."""
        assert limit.tokens is not None
        return (limit.rows is None or len(self.places) <= limit.rows) and self.cost(limit) <= limit.tokens

    def joined(self, other: _Pack) -> _Pack:
        """With those of another."""
        return _Pack(
            self.places + other.places,
            max(self.longest, other.longest),
            max(self.width, other.width),
            self.prompts | other.prompts,
        )


def _groups(single: list[_Pack], limit: PassLimit) -> list[_Pack]:
    """Neighbours of one prompt together, and parts of those that are too many."""
    result = []
    for _, members in groupby(single, key=lambda pack: pack.prompts):
        rows = list(members)
        group = reduce(_Pack.joined, rows)
        result += [group] if group.fits(limit) else _packed(rows, limit)
    return result


def _filled(packs: list[_Pack], limit: PassLimit) -> list[_Pack]:
    """From the shortest to the longest, as many as fit: few that are long pad none that are short."""
    passes: list[_Pack] = []
    for pack in sorted(packs, key=lambda pack: pack.longest):
        if passes and (both := passes[-1].joined(pack)).fits(limit):
            passes[-1] = both
        else:
            passes.append(pack)
    return passes


def _packed(packs: list[_Pack], limit: PassLimit) -> list[_Pack]:
    """First fit, the longest first: a pass is as wide as its first part, and takes what is like it."""
    passes: list[_Pack] = []
    for pack in sorted(packs, key=lambda pack: -pack.longest):
        for place, part in enumerate(passes):
            # Before sets are joined: at least so many tokens of completions.
            if (len(part.places) + len(pack.places)) * part.longest <= (limit.tokens or 0):
                both = part.joined(pack)
                if both.fits(limit):
                    passes[place] = both
                    break
        else:
            passes.append(pack)
    return passes
