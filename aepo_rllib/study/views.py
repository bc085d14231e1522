"""Views: the figures and tables of a study, each of a kind, with the arms that it shows. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aepo_rllib.support.options import TEXT, Option


@dataclass(frozen=True)
class Kind:
    """What a view can be.

    Attributes:
        name: In a study's file.
        words: What it shows.
        scores: Whether it shows scores of evaluations.
        compares: Whether it shows the study's reference beside its arms.
        keys: What can be said of it beyond arms and title.
    """

    name: str
    words: str
    scores: bool = False
    compares: bool = False
    keys: tuple[str, ...] = ()


def _by_name(*kinds: Kind) -> Mapping[str, Kind]:
    return {kind.name: kind for kind in kinds}


FIGURES = _by_name(
    Kind("entropy", "entropy against its target, and reward, all arms on one plot", keys=("highest",)),
    Kind("panels", "the same entropy, a small plot for every arm", compares=True),
    Kind("passk", "pass@k", scores=True, keys=("suites",)),
    Kind("tradeoff", "reward against entropy, a point for every arm"),
)
TABLES = _by_name(
    Kind("court", "what counts of everything, a row for every arm", True, True, ("columns", "suites")),
    Kind("control", "how the entropy was held"),
    Kind("suites", "pass@1 on every suite, and their mean", True, keys=("suites",)),
    Kind("passk", "pass@k with intervals", True, keys=("minus", "suites")),
    Kind("difference", "pass@k minus the reference's, paired by seed and problem", True, keys=("minus", "suites")),
    Kind("kept", "in words, what an arm keeps of the base model, and what that costs", True, True, ("suites",)),
)
MOST, REFERENCE = "most", "reference"
"""In the name of a column they stand for the largest k, and for the study's reference."""
PASS = "pass@"
CHECKPOINT = "checkpoint"
"""Key of every view that shows scores: which of those that the study evaluates."""
COLUMNS = (
    *("target", "entropy", "error", "settles", "overshoot", "stops"),
    *("reward", f"reward minus {REFERENCE}"),
    *(f"{PASS}1", f"{PASS}{MOST}", f"{PASS}{MOST} minus {REFERENCE}"),
    *("steps", "minutes"),
)
"""Of a `court` table; a study's own metrics and scores are further ones."""
ALL = "all"
VIEW_KEYS: dict[str, Option] = {
    "kind": TEXT,
    "arms": Option(str, several=True, instead=ALL),
    "title": TEXT,
    "suites": Option(str, several=True),
    "minus": Option(str, several=True),
    "columns": Option(str, several=True),
    CHECKPOINT: TEXT,
    "highest": Option(float, above=0),
}
"""Keys of a view in a study's file."""


@dataclass(frozen=True)
class View:
    """A figure or a table.

    Attributes:
        name: Of its file, and of its place on a page.
        kind: One of `FIGURES`, or of `TABLES`.
        arms: What it shows, in order; the untrained model may be among them.
        title: A line about it; the kind's words where nothing is said.
        suites: Those of the evaluation that it reads; none for all.
        minus: Arms whose pass@k is subtracted from that of the others, each in a table of its own.
        columns: Of a table with a row for every arm; none for all.
        checkpoint: Whose scores it reads; "" for the first that the study names.
        highest: Where its entropy axis ends, in nats; None for the highest curve.
    """

    name: str
    kind: Kind
    arms: Sequence[str]
    title: str = ""
    suites: Sequence[str] = ()
    minus: Sequence[str] = ()
    columns: Sequence[str] = ()
    checkpoint: str = ""
    highest: float | None = None

    def needs(self, reference: str | None) -> set[str]:
        """Arms without which it is not whole, given the study's reference."""
        compares = self.kind.compares and (not self.columns or any(REFERENCE in name for name in self.columns))
        return {*self.arms, *self.minus, *([reference] if compares and reference else [])}

    def shows_scores(self, own: Sequence[str] = ()) -> bool:
        """Whether its arms have to be evaluated, where these columns of the study are scores."""
        return self.kind.scores and (not self.columns or any(PASS in name or name in own for name in self.columns))
