"""A search as its user describes it: in YAML, on the command line, or both. Plain data, checked as far as that goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from aepo_rllib.cli.settings import RUN_OPTIONS, RunSettings, merge
from aepo_rllib.cli.study.file import StudyFile
from aepo_rllib.cli.tune.objective import MODES, PASS_AT_1, Objective
from aepo_rllib.cli.tune.space import SHOWN, Distribution, parse_distribution
from aepo_rllib.study.measures import WINDOW
from aepo_rllib.support.arguments import unknown
from aepo_rllib.support.options import FLAG, MAPPING, TEXT, Option, check_values, choice, count

SCHEDULERS = {
    "none": "every trial takes all its steps",
    "asha": "asynchronous successive halving: of the trials at a rung only the best part goes on",
    "pbt": "population based training: from time to time the worst become copies of the best, with other values",
}
SEARCHES = {
    "random": "every trial draws its values",
    "grid": "every combination of what can be listed: choice, grid, randint",
    "optuna": "Optuna's tree-structured Parzen estimator; needs the extra aepo-rllib[optuna]",
}
FREE = frozenset({"samples", "baseline"})
"""Keys that may change while a search goes on: it does what is missing."""
OWNED = ("steps",)
"""Settings that are the search's, and in no space."""
KEYS: dict[str, Option] = {
    "settings": MAPPING,
    "space": MAPPING,
    "metric": TEXT,
    "mode": choice(*MODES, optional=True),
    "window": count(),
    "scheduler": choice(*SCHEDULERS),
    "search": choice(*SEARCHES),
    "samples": count(),
    "seed": count(0),
    "grace_period": count(optional=True),
    "reduction_factor": count(2),
    "perturbation_interval": count(optional=True),
    "quantile_fraction": Option(float, above=0, most=0.5),
    "resample_probability": Option(float, least=0, most=1),
    "baseline": FLAG,
    "evaluation": MAPPING,
}
"""Keys of a search's file; those of schedulers are called as in `ray.tune`."""


@dataclass(frozen=True)
class Search:
    """A search.

    Attributes:
        settings: What every trial starts from, as `aepo train --config` takes it.
        space: Distributions by config key; dots reach into mappings.
        metric, mode, window: See `Objective`; no mode is the one that goes without saying.
        scheduler, search: One of `SCHEDULERS`, of `SEARCHES`.
        samples: Trials, of each combination of `grid`; with PBT the size of the population.
        seed: Of what is drawn; trials have the seed of their settings.
        grace_period, reduction_factor: Of ASHA: the first rung in steps (None: an eighth of all), and the factor
            between rungs, of which one part of the trials goes on.
        perturbation_interval: Of PBT: steps between generations (None: a quarter of all).
        quantile_fraction: Of PBT: which part is replaced by copies of as many of the best.
        resample_probability: Of PBT: how often a copy draws a value anew instead of one near the old.
        baseline: Whether the settings themselves are trained, too, and compared with the best trial.
        evaluation: Settings of `aepo eval` for pass@k, and for the comparison with the baseline.
    """

    settings: Mapping[str, Any]
    space: Mapping[str, Distribution]
    metric: str = PASS_AT_1
    mode: str | None = None
    window: int = WINDOW
    scheduler: str = "none"
    search: str = "random"
    samples: int = 8
    seed: int = 0
    grace_period: int | None = None
    reduction_factor: int = 4
    perturbation_interval: int | None = None
    quantile_fraction: float = 0.25
    resample_probability: float = 0.25
    baseline: bool = False
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Training steps of a trial."""
        return int(self.settings.get("steps", RunSettings.steps))

    @property
    def objective(self) -> Objective:
        """What it is after."""
        return Objective.of(self.metric, self.mode, self.window)

    def plain(self) -> dict[str, Any]:
        """As a file has it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {"space": {key: str(distribution) for key, distribution in self.space.items()}}


class Places:
    """Where each part of a search stands, which a complaint about it begins with.

    Args:
        file: Its file; None for none.
        typed: Keys of the space that the command line gives, as they were typed.
    """

    def __init__(self, file: StudyFile | None, typed: Mapping[str, Any]) -> None:
        self._file, self._typed = file, typed

    @contextmanager
    def within(self, key: str, part: str | None = None) -> Iterator[None]:
        """What is refused during the block is about this key, or a part of it.

        Raises:
            ValueError: with file and line, or the option, before the message.
        """
        if part and key == "space" and part in self._typed:
            try:
                yield
            except ValueError as error:
                raise ValueError(f"--space {part}={self._typed[part]!s:.{SHOWN}}: {error}") from error
        elif self._file is not None and key in self._file.values:
            with self._file.within(key, *([part] if part else [])):
                yield
        else:
            yield


def read_search(file: Path | None, over: Mapping[str, Any]) -> tuple[Search, Places]:
    """The search of a file with what the command line lays upon it.

    Args:
        file: None for none.
        over: By key, `space` and `settings` being mappings that are merged.

    Raises:
        ValueError: a key or a value that does not fit; names file and line, or the option.
        OSError: the file cannot be read.
    """
    whole = StudyFile(file) if file else None
    places = Places(whole, over.get("space", {}))
    if whole is not None:
        with whole.within():
            _check_keys(whole.values)
    _check_keys(over)
    values = merge(whole.values if whole else {}, over)
    space = {}
    for key, text in values.get("space", {}).items():
        with places.within("space", str(key)):
            space[key] = _distribution(key, text)
    if not space:
        raise ValueError(
            "there is nothing to search over: give --space KEY=DISTRIBUTION, such as lr=loguniform(1e-4, 2e-3)"
        )
    with places.within("settings"):
        settings = values.get("settings", {})
        check_values(settings, RUN_OPTIONS)
    search = Search(**{**values, "settings": settings, "space": space})
    with places.within("metric"):
        search.objective  # noqa: B018 - to be checked here
    return search, places


def _distribution(key: Any, text: Any) -> Distribution:
    if not isinstance(key, str) or not all(key.split(".")):
        raise ValueError(f"{key!r} is no config key")
    if key in OWNED:
        raise ValueError(f"{key} is the search's, and the same for all trials: set it with --{key}")
    return parse_distribution(text)


def _check_keys(values: Mapping[str, Any]) -> None:
    for key in values:
        if key not in KEYS:
            raise ValueError(unknown("key", key, KEYS))
    check_values(values, KEYS)
