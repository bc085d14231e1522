"""`Sheet`: a table of scores before it is a text, so that every format shows the same numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Score(NamedTuple):
    """A number of a table.

    Attributes:
        value: In the unit of its row; None where it is undefined.
        low: Lower end of its 95 % interval, nan where there is none.
        high: Upper end of it.
        signed: Whether it is a difference.
        differs: Whether it is one that is more than noise.
        brief: Whether a terminal shows it without its interval.
        known: Whether there is anything to show; an empty cell else.
    """

    value: float | None
    low: float = math.nan
    high: float = math.nan
    signed: bool = False
    differs: bool = False
    brief: bool = False
    known: bool = True


EMPTY = Score(None, known=False)


class Column(NamedTuple):
    """What a column is about.

    Attributes:
        name: Place in the names of its sheet.
        minus: Place of what is taken from it; None where it is no difference.
        under: A word below, such as a number of problems.
    """

    name: int
    minus: int | None = None
    under: str = ""


class Row(NamedTuple):
    """A score by its name, such as pass@4, in every column.

    Attributes:
        label: The name.
        scores: One a column.
        unit: "%", "nats", or "" for numbers of things.
        digits: So many after the point.
        section: Rows of one stand together.
    """

    label: str
    scores: Sequence[Score]
    unit: str = "%"
    digits: int = 1
    section: int = 0


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        suite: What it is about, as it was named by whoever made it.
        part: The family or level of its problems, "" for all of them.
        title: A line above.
        names: Of models, suites or families; `Column`s point at them.
        columns: From left to right.
        rows: From top to bottom; a line is drawn where their `section` changes.
        notes: Sentences below.
        corner: Above the labels of the rows.
    """

    suite: str
    part: str
    title: str
    names: Sequence[str]
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    corner: str = ""

    def head(self, column: Column, names: Sequence[str], minus: str = "-") -> str:
        """What a column is called where names are written so."""
        own = names[column.name]
        return own if column.minus is None else f"{own} {minus} {names[column.minus]}"

    def ends_section(self, place: int) -> bool:
        """Whether a line is drawn below a row."""
        return place + 1 < len(self.rows) and self.rows[place].section != self.rows[place + 1].section


def percent(point: Mapping[str, Any] | None, *, brief: bool = False) -> Score:
    """A point of passk.json in percent: mean and 95 % interval."""
    if not point or point.get("mean") is None:
        return Score(None)
    low, high = point.get("ci95") or (math.nan, math.nan)
    return Score(100 * point["mean"], 100 * low, 100 * high, brief=brief)


def at(curve: Any, place: int, *, scale: float = 100, sides: np.ndarray | None = None, brief: bool = False) -> Score:
    """A point of a `PassAtKCurve`; a difference where `sides` says on which side of 0 its band lies."""
    value, low, high = (scale * float(ends[place]) for ends in (curve.mean, curve.low, curve.high))
    signed = sides is not None
    differs = sides is not None and bool(sides[place])
    return Score(None if math.isnan(value) else value, low, high, signed, differs, brief)
