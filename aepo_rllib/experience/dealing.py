"""From groups to optimizer steps: whole groups dealt to steps and learners, rows weighted for every term.

Denominators are per optimizer step over *all* learners. Rows that carry no gradient count in them but skip the forward
pass, and DDP averages over learners, so that every weight is multiplied by their number: any split of a batch gives the
same gradient.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from aepo_rllib.experience.rows import Row, RowGroups
from aepo_rllib.objectives.aggregation import row_weights
from aepo_rllib.objectives.parts import MAIN, Method, Term

Shares = list[list[Row]]
"""The rows of an optimizer step, by learner."""


class Mean(NamedTuple):
    """How tokens are averaged, see `aggregation.row_weights`.

    Attributes:
        aggregation: Name of the mean; a term may have another.
        max_length: Generation budget in tokens.
        micro_batch_size: Of "micro-batch-token-mean".
    """

    aggregation: str
    max_length: int
    micro_batch_size: int | None = None

    def weights(self, rows: Sequence[Row], aggregation: str | None) -> list[float]:
        """One weight per row, by this mean or another."""
        return row_weights([len(row.completion_ids) for row in rows], **self._asdict() | _named(aggregation))


def check_names(method: Method, streams: Mapping[str, RowGroups], coefficients: Mapping[str, float]) -> None:
    """Refuse rows and coefficients that the method does not know, and streams that it reads and that are missing.

    Raises:
        ValueError: names them.
    """
    read = {term.stream for term in method.terms.values()}
    if unknown := sorted({*streams} - {*method.streams}):
        raise ValueError(f"rows of stream {', '.join(unknown)}: the method has {', '.join(method.streams)}")
    if missing := sorted(read - {*streams}):
        raise ValueError(f"no rows of stream {', '.join(missing)} were given, which terms of the method read")
    for name, value in coefficients.items():
        if name not in method.terms:
            raise ValueError(f"coefficient of term {name!r}: the method has {', '.join(method.terms)}")
        if not math.isfinite(value):
            raise ValueError(f"coefficient of term {name!r} is {value}")


def deal(
    streams: Mapping[str, RowGroups],
    method: Method,
    mean: Mean,
    *,
    updates: int,
    learners: int,
    coefficients: Mapping[str, float] | None = None,
    skip_flat_rows: bool = True,
) -> list[Shares]:
    """Rows with gradient by optimizer step and learner, weighted.

    Args:
        streams: Row groups of the method's streams; those of one that is missing are none.
        method: Whose terms they are for.
        mean: How tokens are averaged.
        updates: Optimizer steps the batch is split into.
        learners: Learners that share each step.
        coefficients: Of terms by name, where they are not the method's.
        skip_flat_rows: Leave out rows that no term needs. They count in the denominators either way.
    """
    steps, needs = [], [term.needs_all_rows for term in method.terms.values()]
    for update in range(updates):
        shares: Shares = [[] for _ in range(learners)]
        for name, groups in streams.items():
            part = groups[update * len(groups) // updates : (update + 1) * len(groups) // updates]
            weighted = iter(_weighted(part, name, method, mean, learners, coefficients or {}))
            for position, group in enumerate(part):
                rows = [next(weighted) for _ in group]
                shares[position % learners] += [row for row in rows if not skip_flat_rows or _weighs(row, needs)]
        steps.append(shares)
    return steps


def matters(row: Row, terms: Collection[Term]) -> bool:
    """Whether the learner has to see a row, whose stream these terms read."""
    return bool(terms) and (row.has_advantage or any(term.needs_all_rows for term in terms))


def _weighs(row: Row, needs_all_rows: Sequence[bool]) -> bool:
    """Whether some term, by its place, gives a dealt row a gradient, or needs it."""
    there = row.has_advantage
    return any(weight and (there or needs) for weight, needs in zip(row.weights, needs_all_rows, strict=True))


def replace_first_rows(main: RowGroups, replacements: Sequence[Row]) -> RowGroups:
    """`main` with its first rows replaced, in order; rows beyond the last replacement stay."""
    taken = iter(replacements)
    return [[next(taken, row) for row in group] for group in main]


def _weighted(
    part: RowGroups, stream: str, method: Method, mean: Mean, learners: int, coefficients: Mapping[str, float]
) -> list[Row]:
    rows = [row for group in part for row in group]
    own = mean.weights(rows, None)
    columns = [
        [coefficients.get(name, term.coefficient) * weight for weight in mean.weights(rows, term.aggregation)]
        if term.stream == stream
        else [0.0] * len(rows)
        for name, term in method.terms.items()
    ]
    return [
        replace(
            row,
            weights=tuple(weight * learners for weight in weights),
            mean_weight=own_weight * learners if stream == MAIN else 0.0,
            place=place,
        )
        for place, (row, own_weight, *weights) in enumerate(zip(rows, own, *columns, strict=True))
    ]


def _named(aggregation: str | None) -> dict[str, str]:
    return {} if aggregation is None else {"aggregation": aggregation}
