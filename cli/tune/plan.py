"""What a search comes to: what every trial starts from, when it is looked at, and whether all of it can be.

Everything is checked here that can be before Ray starts: the ends of every range and every listed value by building the
config that a trial would have, the metric, and whether it is known when a scheduler looks at it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aepo_rllib.cli.settings import build, merge
from aepo_rllib.cli.tune.objective import TRACKING, Objective
from aepo_rllib.cli.tune.search import Places, Search
from aepo_rllib.cli.tune.space import Distribution, Grid, nested
from aepo_rllib.envs.problems import is_procedural
from aepo_rllib.envs.text_env import ENV_ID

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig

INTERVAL = "evaluation_interval"
VALIDATION, TEST = "validation", "test"
RUNGS = 8
"""Part of all steps that is ASHA's first rung unless told otherwise."""
GENERATIONS = 4
"""Of a population, unless told otherwise."""
OF_SCHEDULERS = {
    "asha": ("grace_period", "reduction_factor"),
    "pbt": ("perturbation_interval", "quantile_fraction", "resample_probability"),
}
"""Keys of a search that are but one scheduler's."""
IN_CHECKPOINTS = frozenset({"seed", "lora_rank", "lora_alpha"})
"""Numbers that a run's checkpoints are made of: a copy of a trial cannot have others."""


@dataclass(frozen=True)
class Plan:
    """A search that can run. It travels to the trials' processes.

    Attributes:
        root: Its folder, absolute.
        settings: What every trial starts from.
        objective: What it is after.
        looks: After which steps a trial is looked at, in order; the last is its end.
        evaluation: Of every trial after its end, for pass@k; None for none.
        test: Of the best trial and the baseline, on problems that the search has not seen; None for none.
    """

    root: Path
    settings: Mapping[str, Any]
    objective: Objective
    looks: tuple[int, ...]
    evaluation: Mapping[str, Any] | None = None
    test: Mapping[str, Any] | None = None

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What `aepo train --config` would be given."""
        return merge(self.settings, nested(parameters))

    def bundles(self, parameters: Mapping[str, Any]) -> list[dict[str, float]]:
        """What such a trial asks of Ray, as Tune's placement groups have it.

        Raises:
            ValueError: the parameters do not fit together.
        """
        config = build(self.values(parameters))[1]
        return [dict(bundle) for bundle in config.algo_class.default_resource_request(config.to_dict()).bundles]


def plan(search: Search, places: Places, root: Path) -> Plan:
    """The plan of a search. Loads torch and Ray.

    Raises:
        ValueError: something that does not fit; names file and line, or the option.
    """
    check_combination(search, places)
    with places.within("settings"):
        settings, config = build(search.settings)
    settings_of_all = {**search.settings, "algo": settings.algo, "steps": settings.steps}
    first = {key: distribution.ends()[0] for key, distribution in search.space.items()}
    looks = looks_of(search)
    for key, distribution in search.space.items():
        with places.within("space", key):
            _check_space(key, distribution, search, config)
            for end in distribution.ends():
                _, built = build(merge(settings_of_all, nested({**first, key: end})))
                _check_objective(search.objective, built)
    if search.objective.evaluates:
        with places.within("settings", INTERVAL):
            settings_of_all[INTERVAL] = evaluation_interval(search, config.evaluation_interval, looks)
    evaluation = test = None
    with places.within("evaluation"):
        if k := search.objective.k:
            evaluation = _evaluation(search, config, VALIDATION, k)
        if search.baseline:
            test = _evaluation(search, config, TEST, search.objective.k or 1)
    return Plan(root.resolve(), settings_of_all, search.objective, looks, evaluation, test)


def looks_of(search: Search) -> tuple[int, ...]:
    """After which steps a scheduler looks at a trial; the last is its end."""
    steps = search.steps
    return (*itertools.takewhile(lambda step: step < steps, _SCHEDULED[search.scheduler](search)), steps)


def _rungs(search: Search) -> Iterator[int]:
    grace = search.grace_period or max(1, search.steps // RUNGS)
    return (grace * search.reduction_factor**rung for rung in itertools.count())


def _generations(search: Search) -> Iterator[int]:
    interval = search.perturbation_interval or max(1, search.steps // GENERATIONS)
    return itertools.count(interval, interval)


_SCHEDULED = {"none": lambda search: iter(()), "asha": _rungs, "pbt": _generations}


def evaluation_interval(search: Search, default: int | None, looks: Sequence[int]) -> int:
    """Steps between evaluations, so that there is one within the window of every look: as set, or the default, or less.

    Raises:
        ValueError: what is set does not fit.
    """

    def missed(interval: int) -> int | None:
        return next((look for look in looks if look // interval * interval <= max(look - search.window, 0)), None)

    if INTERVAL in search.settings:
        if default is None:
            raise ValueError(f"metric {search.metric!r} needs evaluations, and {INTERVAL} is null")
        if (look := missed(default)) is not None:
            raise ValueError(
                f"{INTERVAL}={default}: there is no evaluation in the {search.window} steps up to step {look}, when "
                f"{search.metric} is looked at; leave it out, and a fitting one is chosen"
            )
        return default
    return next(interval for interval in (default or looks[0], *range(looks[0], 0, -1)) if missed(interval) is None)


def check_combination(search: Search, places: Places) -> None:
    """Refuse what does not go together. Cheap.

    Raises:
        ValueError: names both keys.
    """
    for scheduler, keys in OF_SCHEDULERS.items():
        for key in keys:
            with places.within(key):
                if scheduler != search.scheduler and getattr(search, key) != getattr(Search, key):
                    raise ValueError(f"{key} does nothing with scheduler {search.scheduler}: it is {scheduler}'s")
    with places.within("search"):
        if search.search == "optuna" and find_spec("optuna") is None:
            raise ValueError('search optuna needs Optuna: pip install "aepo-rllib[optuna]"; or take search random')
    with places.within("evaluation"):
        if search.evaluation and not search.baseline and search.objective.k is None:
            raise ValueError("evaluation does nothing without a baseline, or a metric pass@K")
    with places.within("scheduler"):
        if search.scheduler == "pbt" and search.search != "random":
            raise ValueError(f"scheduler pbt draws and changes values itself; leave search {search.search} out")
        looks = looks_of(search)
        if search.objective.k and len(looks) > 1:
            raise ValueError(
                f"scheduler {search.scheduler} looks at trials after {looks[0]} steps, and {search.metric} is known at "
                "their end; take a metric that is known during a run, or scheduler none"
            )
    for key, steps in (("grace_period", search.grace_period), ("perturbation_interval", search.perturbation_interval)):
        with places.within(key):
            if steps is not None and steps >= search.steps:
                raise ValueError(f"{key}={steps} leaves nothing of {search.steps} steps to be decided; lower it")


def _check_space(key: str, distribution: Distribution, search: Search, config: TextRLConfig) -> None:
    """Refuse a distribution that the way of searching has no use for."""
    listed = distribution.values() is not None
    if search.search == "grid" and not listed:
        raise ValueError("a grid needs values that can be listed: choice, grid or randint; or take search random")
    if search.search == "optuna" and isinstance(distribution, Grid):
        raise ValueError("Optuna chooses values itself; write choice for grid")
    if search.scheduler == "pbt":
        option = config.options().get(key)
        if option is None or key in IN_CHECKPOINTS or not (option.kind in (int, float) or option.parse):
            raise ValueError(f"pbt changes values during a run, and {key} cannot: only numbers, and targets of entropy")
        if isinstance(distribution, Grid):
            raise ValueError("a population draws its values; write choice for grid")
    if key == INTERVAL and search.objective.evaluates:
        raise ValueError(f"metric {search.metric!r} needs evaluations at the same steps of all trials; set it for all")


def _check_objective(objective: Objective, config: TextRLConfig) -> None:
    if objective.metric == TRACKING and config.dial_loop() is None:
        raise ValueError(
            f"metric {TRACKING} is a distance from a target entropy, and this method has none; take another"
        )


def _evaluation(search: Search, config: TextRLConfig, split: str, k: int) -> dict[str, Any]:
    """Checked settings of an evaluation on the problems of a split.

    Raises:
        ValueError: a setting that does not fit, or problems without such a split.
    """
    from aepo_rllib.eval.plan import EvaluationPlan
    from aepo_rllib.eval.settings import settings_of
    from aepo_rllib.eval.suites.own import find_sources
    from aepo_rllib.support.arguments import unknown

    known = settings_of(EvaluationPlan).keys() - {"model", "output", "overwrite", "repair", "split"}
    for key in search.evaluation:
        if key not in known:
            raise ValueError(unknown("key", key, known))
    settings = {"n": max(k, 16), "max_new_tokens": config.max_new_tokens} | dict(search.evaluation)
    if split == VALIDATION or not ({"suites", "problems"} & settings.keys()):
        settings = {key: value for key, value in settings.items() if key != "suites"}
        settings |= {"problems": [_source(config, split)], "split": split}
        settings |= {key: config.env_config[key] for key in ("fields", "verifier") if config.env_config.get(key)}
    settings["ks"] = sorted({1, k, *(settings.get("ks") or ())})
    find_sources(EvaluationPlan(**settings))
    return settings


def _source(config: TextRLConfig, split: str) -> str:
    """Problems of a split of those that are trained on."""
    if config.env != ENV_ID:
        raise ValueError(
            f"env={config.env!r}: its problems cannot be evaluated; take a metric of training, no baseline"
        )
    source = str(config.env_config["problems"])
    if split == VALIDATION and config.validation_problems:
        return config.validation_problems
    if not is_procedural(source):
        cure = "validation_problems" if split == VALIDATION else "evaluation: {problems: [...]} or {suites: [...]}"
        raise ValueError(f"{source!r} has no {split} problems of its own; set {cure}")
    return source
