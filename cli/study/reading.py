"""From a study's file to the study: whatever does not fit is refused, with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aepo_rllib.cli.early import check_early
from aepo_rllib.cli.settings import merge
from aepo_rllib.cli.study.file import StudyFile
from aepo_rllib.cli.study.view_reader import ViewReader
from aepo_rllib.study.study import BASE_ARM, EVALUATION_KEYS, LAST, STUDY_KEYS, Study
from aepo_rllib.study.views import FIGURES, TABLES
from aepo_rllib.support.arguments import unknown
from aepo_rllib.support.options import TEXT, check_values

_NAME = re.compile(r"[\w@.,+()= -]{1,60}")


def read_study(file: StudyFile, *, quick: bool = False) -> Study:
    """The study that a file describes.

    Args:
        file: It.
        quick: Its smaller form: what stands under `quick`, laid upon the rest.

    Raises:
        ValueError: a key or a value that does not fit; names file, line and key.
    """
    with file.within():
        _check_keys(file.values)
    with file.within("quick"):
        _check_keys({**file.values, **file.values.get("quick", {})})
    values = {key: value for key, value in file.values.items() if key != "quick"}
    if quick:
        if "quick" not in file.values:
            raise ValueError(f"{file.path}: it has no quick form: there is no key quick")
        values = merge(values, file.values["quick"])
        for length, other in (("steps", "completions"), ("completions", "steps")):
            if length in file.values["quick"]:
                values.pop(other, None)
    with file.within():
        if (values.get("steps") is None) == (values.get("completions") is None):
            raise ValueError("give either steps or completions: one of them says how long a trial is")
    evaluation = dict(values.get("evaluation") or {})
    with file.within("evaluation"):
        own = {key: evaluation.pop(key) for key in EVALUATION_KEYS.keys() & evaluation.keys()}
        checkpoints = own.get("checkpoint", LAST)
        checkpoints = [checkpoints] if isinstance(checkpoints, str) else checkpoints
        check_values({**own, "checkpoint": checkpoints}, EVALUATION_KEYS)
        if len(set(checkpoints)) < len(checkpoints):
            raise ValueError("checkpoint: one twice")
    arms = _arms(file, values)
    columns = {key: _columns(file, values, key) for key in ("metrics", "scores")}
    own_columns = [name for each in columns.values() for name in each]
    views = ViewReader(file, values, [BASE_ARM, *arms], own_columns, checkpoints)
    return Study(
        name=file.path.stem,
        title=values.get("title", file.path.stem),
        arms=arms,
        seeds=_seeds(file, values),
        evaluation=evaluation if values.get("evaluation") is not None else None,
        with_base=(with_base := own.get("base", False)),
        checkpoints=tuple(checkpoints),
        evaluation_gpus=own.get("gpus", 0),
        figures=views.read("figures", FIGURES, every=list(arms)),
        tables=views.read("tables", TABLES, every=[*([BASE_ARM] if with_base else []), *arms]),
        metrics=columns["metrics"],
        scores=columns["scores"],
        **{key: values[key] for key in ("completions", "steps", "window", "reference") if key in values},
    )


def _check_keys(values: Mapping[str, Any]) -> None:
    for key in values:
        if key not in STUDY_KEYS:
            raise ValueError(unknown("key", key, STUDY_KEYS))
    check_values(values, STUDY_KEYS)
    if not values.get("arms"):
        raise ValueError("there are no arms")


def _seeds(file: StudyFile, values: Mapping[str, Any]) -> tuple[int, ...]:
    with file.within("seeds"):
        seeds = tuple(values.get("seeds", (0,)))
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed twice")
    return seeds


def _arms(file: StudyFile, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of every arm, upon those of all."""
    arms, folders = dict[str, dict[str, Any]](), dict[str, str]()
    common = values.get("settings", {})
    for name, own in values["arms"].items():
        with file.within("arms", str(name)):
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name == BASE_ARM:
                raise ValueError(f"{name!r} is no name of an arm: letters, digits, spaces and @.,+()=-_")
            if not isinstance(own, Mapping) or "algo" not in own:
                raise ValueError("an arm is a mapping with algo, the method, and config keys")
            TEXT.check("algo", own["algo"])
            for key in ("steps", "seed"):
                if key in own or key in common:
                    raise ValueError(f"{key} is the study's, not an arm's: see steps, completions and seeds")
            if (twin := folders.setdefault(folder_name(name), name)) != name:
                raise ValueError(f"its folder would be called as that of {twin!r}")
            check_early(arms.setdefault(name, merge(common, own)), here=False)
    with file.within("reference"):
        if (reference := values.get("reference")) is not None and reference not in arms:
            raise ValueError(unknown("arm", reference, arms))
    return arms


def _columns(file: StudyFile, values: Mapping[str, Any], key: str) -> dict[str, str]:
    """Further columns: what is shown in each, by its title."""
    from aepo_rllib.study.summary import MEASURES  # loads pandas
    from aepo_rllib.study.tables import COLUMNS

    taken = {*MEASURES, *(column for columns in COLUMNS.values() for column in columns)}
    columns = values.get(key, {})
    for title, shown in columns.items():
        with file.within(key, str(title)):
            TEXT.check(str(title), shown)
            if not isinstance(title, str) or title in taken or (key == "scores" and title in values.get("metrics", {})):
                raise ValueError(f"a column {title!r} is there already; give it another title")
    return dict(columns)


def folder_name(arm: str) -> str:
    """Of an arm, for the folders of its trials."""
    return "-".join(re.findall(r"[\w.]+", arm.lower()))
