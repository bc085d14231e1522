"""What a study compares: arms, seeds, how much each may sample, and what is made of it. Plain data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aepo_rllib.study.measures import WINDOW
from aepo_rllib.study.views import View
from aepo_rllib.support.arguments import unknown
from aepo_rllib.support.options import MAPPING, NOT_NEGATIVE, TEXT, Option, count

FOLDER = Path(__file__).parent / "shipped"
BASE_ARM = "base model"
"""What the untrained model is called where it is evaluated, too."""


def _list_or_mapping(value: Any) -> None:
    names = value if isinstance(value, list) else [] if isinstance(value, Mapping) else [None]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("must be a list of tables, or a mapping of names to tables")


STUDY_KEYS: dict[str, Option] = {
    "title": TEXT,
    "completions": count(optional=True),
    "steps": count(optional=True),
    "seeds": Option(int, least=0, several=True),
    "window": count(2),
    "reference": Option(str, optional=True),
    "settings": MAPPING,
    "arms": MAPPING,
    "evaluation": Option(dict, optional=True),
    "metrics": MAPPING,
    "scores": MAPPING,
    "tables": Option(dict, parse=_list_or_mapping),
    "figures": MAPPING,
    "quick": MAPPING,
}
"""Keys of a study's file."""
LAST, BEST = "last", "best"
EVALUATION_KEYS: dict[str, Option] = {
    "base": Option(bool),
    "checkpoint": Option(str, choices=(LAST, BEST), several=True),
    "gpus": NOT_NEGATIVE,
}
"""Keys of its `evaluation` that are none of `aepo eval`'s settings: whether the untrained model is evaluated as well,
which checkpoints of the others are, and how many GPUs an evaluation takes."""


@dataclass(frozen=True)
class Study:
    """A study, checked as far as plain data can be.

    Attributes:
        name: Of its file, and of its folder.
        title: A line about it.
        arms: By name: the method (`algo`) and config keys, as `aepo train --config` takes them.
        seeds: Every arm is trained with each of them.
        completions: What a trial may sample while it trains; None where `steps` says how long it is.
        steps: Training steps of a trial.
        window: Steps of the running means.
        reference: The arm that others are compared with, paired by seed; None for none.
        evaluation: Settings of `aepo eval` for trained models, see `evaluated`; None for none.
        with_base: Whether the untrained model is evaluated, too.
        checkpoints: Which are evaluated: `LAST`, `BEST`, the one with the highest validation score, or both. Reports
            show the first where they say nothing.
        evaluation_gpus: What an evaluation takes of Ray's GPUs.
        metrics: Further columns of the court's table: metrics of a run, by what they are called there.
        scores: Likewise, scores of a suite in passk.json; a slash goes inside (`diversity/correct_paths/64/mean`).
        tables: Which are written.
        figures: Which are drawn.
    """

    name: str
    title: str
    arms: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    completions: int | None = None
    steps: int | None = None
    window: int = WINDOW
    reference: str | None = None
    evaluation: Mapping[str, Any] | None = None
    with_base: bool = False
    checkpoints: Sequence[str] = (LAST,)
    evaluation_gpus: float = 0
    metrics: Mapping[str, str] | None = None
    scores: Mapping[str, str] | None = None
    tables: Sequence[View] = ()
    figures: Sequence[View] = ()

    @property
    def groups(self) -> list[str]:
        """All rows of a table, in order: the untrained model, then the arms."""
        return [*([BASE_ARM] if self.with_base else []), *self.arms]

    @property
    def evaluated(self) -> set[str]:
        """Rows that are evaluated: those that a figure or table shows scores of; all where none shows scores."""
        if self.evaluation is None:
            return set()
        views = self._views_of_scores()
        shown = {arm for view in views for arm in view.needs(self.reference)} if views else set(self.groups)
        return shown & set(self.groups)

    def _views_of_scores(self) -> list[View]:
        return [view for view in (*self.figures, *self.tables) if view.shows_scores(tuple(self.scores or {}))]

    def part(self, names: Collection[str]) -> Study:
        """A smaller study: some arms; or some figures and tables, of their arms and of arms that are named as well.

        Args:
            names: Of arms, figures and tables.

        Raises:
            ValueError: an unknown one.
        """
        views = [view for view in (*self.figures, *self.tables) if view.name in names]
        known = [*self.arms, *(view.name for view in (*self.figures, *self.tables))]
        for name in names:
            if name not in known:
                raise ValueError(unknown("arm, figure or table", name, known))
        wanted = {*names}.union(*(view.needs(self.reference) for view in views))
        smaller = replace(self, arms={arm: self.arms[arm] for arm in self.arms if arm in wanted})
        if not views:
            return smaller
        return replace(
            smaller,
            with_base=self.with_base and BASE_ARM in wanted,
            evaluation=self.evaluation if any(view in views for view in self._views_of_scores()) else None,
            figures=[view for view in self.figures if view in views],
            tables=[view for view in self.tables if view in views],
        )


def shipped() -> dict[str, Path]:
    """Files of the studies that the package brings along, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}
