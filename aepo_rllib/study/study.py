"""What a study compares: arms, seeds, how much each may sample, and what is made of it. Plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aepo_rllib.study.measures import WINDOW
from aepo_rllib.support.options import MAPPING, TEXT, Option, count

FOLDER = Path(__file__).parent / "shipped"
BASE_ARM = "base model"
"""What the untrained model is called where it is evaluated, too."""
FIGURES = {
    "entropy": "entropy against its target, and reward, all arms on one plot",
    "panels": "the same entropy, a small plot for every arm",
    "passk": "pass@k",
    "tradeoff": "reward against entropy, a point for every arm",
}
TABLES = {
    "court": "what counts of everything, a row for every arm",
    "control": "how the entropy was held",
    "passk": "pass@k with intervals",
    "difference": "pass@k minus the reference's, paired by seed and problem",
}
ALL = "all"
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
    "tables": Option(str, several=True, default=(), choices=tuple(TABLES)),
    "figures": MAPPING,
    "quick": MAPPING,
}
"""Keys of a study's file."""


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
        evaluation: Settings of `aepo eval` for every trained model; None for none.
        with_base: Whether the untrained model is evaluated, too.
        metrics: Further columns of the court's table: metrics of a run, by what they are called there.
        scores: Likewise, scores of a suite in passk.json; a slash goes inside (`diversity/correct_paths/64/mean`).
        tables: Which are written.
        figures: Which are drawn, each with its arms.
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
    metrics: Mapping[str, str] | None = None
    scores: Mapping[str, str] | None = None
    tables: Sequence[str] = ()
    figures: Mapping[str, Sequence[str]] | None = None

    @property
    def groups(self) -> list[str]:
        """All rows of a table, in order: the untrained model, then the arms."""
        return [*([BASE_ARM] if self.with_base else []), *self.arms]


def shipped() -> dict[str, Path]:
    """Files of the studies that the package brings along, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}
