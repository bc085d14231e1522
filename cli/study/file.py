"""A study's YAML file, read and refused: every complaint names file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from aepo_rllib.cli.settings import merge
from aepo_rllib.cli.yaml_input import read_mapping
from aepo_rllib.study.study import ALL, BASE_ARM, FIGURES, STUDY_KEYS, Study, shipped
from aepo_rllib.support.arguments import did_you_mean, unknown
from aepo_rllib.support.options import TEXT, check_values

BASE_KEY = "base"
"""In `evaluation`: whether the untrained model is evaluated, too."""
_NAME = re.compile(r"[\w@.,+()= -]{1,60}")


def find_study(text: str) -> Path:
    """The file that is meant: one that exists, or a study that the package brings along.

    Raises:
        ValueError: neither; names what there is.
    """
    known = shipped()
    if text in known:
        return known[text]
    if Path(text).is_file():
        return Path(text)
    raise ValueError(f"there is no file and no study {text!r}{did_you_mean(text, known)}; there are {', '.join(known)}")


class StudyFile:
    """A study's file with the lines that its keys stand on.

    Args:
        path: Of the file.

    Raises:
        ValueError: it is no YAML mapping; names file and line.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.values = path, read_mapping(path)
        self._root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)

    def line(self, *keys: str) -> int:
        """The line of a nested key, or of the innermost one of its path that stands there."""
        node, line = self._root, 1
        for key in keys:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            found = next(((name, value) for name, value in pairs if name.value == key), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line

    @contextmanager
    def within(self, *keys: str) -> Iterator[None]:
        """What is refused during the block is about this nested key, or one inside it that the message names first.

        Raises:
            ValueError: with file, line and key before the message.
        """
        try:
            yield
        except ValueError as error:
            inside = self._mentioned(keys, str(error))
            line = self.line(*keys, inside) if inside else self.line(*keys)
            place = f"{'.'.join(keys)}: " if keys else ""
            raise ValueError(f"{self.path}:{line}: {place}{error}") from error

    def _mentioned(self, keys: tuple[str, ...], message: str) -> str | None:
        """The key inside a nested mapping that a message begins with, or speaks of first."""
        value: Any = self.values
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        words = re.findall(r"\w+", message)
        inside = [str(key) for key in value] if isinstance(value, Mapping) else []
        return min((key for key in inside if key in words), key=words.index, default=None)


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
    with_base = evaluation.pop(BASE_KEY, False)
    with file.within("evaluation"):
        if not isinstance(with_base, bool):
            raise ValueError(f"{BASE_KEY}={with_base!r} must be true or false")
    return Study(
        name=file.path.stem,
        title=values.get("title", file.path.stem),
        arms=_arms(file, values),
        seeds=_seeds(file, values),
        evaluation=evaluation if values.get("evaluation") is not None else None,
        with_base=with_base,
        figures=_figures(file, values),
        metrics=_columns(file, values, "metrics"),
        scores=_columns(file, values, "scores"),
        **{key: values[key] for key in ("completions", "steps", "window", "reference", "tables") if key in values},
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
    arms, folders = {}, dict[str, str]()
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
        arms[name] = merge(common, own)
    with file.within("reference"):
        if (reference := values.get("reference")) is not None and reference not in arms:
            raise ValueError(unknown("arm", reference, arms))
    return arms


def _figures(file: StudyFile, values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Arms of every figure that is wanted."""
    arms = list(values["arms"])
    figures = {}
    for name, wanted in values.get("figures", {}).items():
        with file.within("figures", name):
            if name not in FIGURES:
                raise ValueError(unknown("figure", name, FIGURES))
            if wanted != ALL and not isinstance(wanted, list):
                raise ValueError(f"{wanted!r} must be a list of arms, or {ALL}")
            figures[name] = arms if wanted == ALL else list(wanted)
            for arm in figures[name]:
                if arm not in arms and arm != BASE_ARM:
                    raise ValueError(unknown("arm", arm, [*arms, BASE_ARM]))
    return figures


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
