"""Mistakes in a run's settings that can be told before torch and Ray are loaded, which takes seconds.

The table of options is made from their declarations (`aepo_rllib.options_table`). What passes here is checked again,
with all the rest, by `aepo_rllib.cli.settings.build`, and what is refused here is refused there in the same words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from aepo_rllib.cli.saying import say
from aepo_rllib.cli.settings import DEFAULT_ALGO, RUN_OPTIONS
from aepo_rllib.models.named_folder import check_named_folder, is_here
from aepo_rllib.support.arguments import check_arguments
from aepo_rllib.support.key_names import unknown_key
from aepo_rllib.support.options import KINDS, Option
from aepo_rllib.support.packages import check_packages
from aepo_rllib.support.plugins import DIALS_GROUP, ENGINES_GROUP, METHODS_GROUP, find, is_own, load
from aepo_rllib.support.terminal import visible

TABLE = Path(__file__).with_name("options.json")
_KINDS = {kind.__name__: kind for kind in KINDS}
_PARTS = {
    "engine": ("rollout engine", ENGINES_GROUP, "class"),
    "controller": ("controller", DIALS_GROUP, "class"),
}
"""Options that name a part, which may be one of the user's own."""
_LISTS = ("choices", "default")
"""Attributes of an option that JSON has as lists."""


def check_early(values: Mapping[str, Any], *, here: bool = True) -> None:
    """Refuse settings of a run that cannot be right.

    Args:
        values: As `build` takes them.
        here: Whether model, engine and problems are on this machine.

    Raises:
        ValueError: an unknown method or key, a value that does not fit, or a model folder, template or problems that
            are not there.
    """
    for key, value in values.items():
        if key in RUN_OPTIONS:
            RUN_OPTIONS[key].check(key, value)
    algo = values.get("algo", DEFAULT_ALGO)
    methods = _read()["methods"]
    if algo not in methods:
        check_method(algo)
        return  # the options of a method of somebody else's are told by its file
    options = _read()["shared"] | methods[algo]
    for key, value in values.items():
        if key not in RUN_OPTIONS and not key.startswith("_"):  # nor what is none of the user's
            _check(options, key, value)
    if "target_entropy" in values and "target_entropy" in options:
        _check_target(values["target_entropy"])
    if here:
        _check_trackers(values.get("track", ()))
        check_model_name(values.get("model_path"))
        _check_engine(values.get("engine"))
    if here and "env" not in values:
        _check_problems(values.get("env_config"))


def known_methods() -> Iterable[str]:
    """The package's methods."""
    return _read()["methods"]


def known_engines() -> Iterable[str]:
    """The package's rollout engines."""
    return _read()["parts"]["engine"]


def known_templates() -> Iterable[str]:
    """The package's prompt templates."""
    from aepo_rllib.envs.prompts import TEMPLATES

    return TEMPLATES


def known_trackers() -> Iterable[str]:
    """The package's trackers."""
    from aepo_rllib.cli.trackers import TRACKERS

    return TRACKERS


def check_method(name: str) -> None:
    """Refuse a method, or a file of one, that is not there.

    Raises:
        ValueError: it is not.
    """
    place = name.rpartition(":")[0]
    if not is_own(name):
        find("algo", name, dict.fromkeys(_read()["methods"]), METHODS_GROUP, kind="Config")
    elif place.endswith(".py") and not Path(place).is_file():
        load("algo", name, kind="Config")


def _check(options: Mapping[str, Mapping[str, Any] | None], key: str, value: Any) -> None:
    if key not in options:
        raise ValueError(unknown_key(key, options))
    if options[key] is None:
        raise ValueError(f"config key {key!r} cannot be set in YAML or on the command line; set it in Python")
    if key in _PARTS and isinstance(value, str) and not is_own(value):
        what, group, kind = _PARTS[key]
        find(what, value, dict.fromkeys(_read()["parts"][key]), group, kind=kind)
    if told := dict(options[key] or {}):
        given: dict[str, Any] = {name: tuple(each) if name in _LISTS else each for name, each in told.items()}
        Option(**given | {"kind": _KINDS[given["kind"]]}).check(key, value)


def _check_target(target: Any) -> None:
    from aepo_rllib.control.targets import schedule_points

    Option(str, parse=schedule_points).check("target_entropy", target)


def check_model_name(model: Any) -> None:
    """Refuse a model's folder that is not there (ValueError)."""
    if isinstance(model, str):
        try:
            check_named_folder(model)
        except OSError as error:
            raise ValueError(f"cannot read model {model!r}: {error}") from error


def tell_of_hub(model: Any) -> None:
    """Say that a hub is asked for a model that is not on this machine: without a network that takes half a minute."""
    if isinstance(model, str) and not is_here(model):
        say(f"no folder {visible(model)} here: looking for it on Hugging Face ...")


def _check_engine(name: Any) -> None:
    if isinstance(name, str):
        check_packages("engine", name, _read()["parts"]["engine"].get(name, {}))


def _check_trackers(names: Iterable[str]) -> None:
    if names:
        from aepo_rllib.cli.trackers import tracker_class

        for name in names:
            tracker_class(name)


def _check_problems(arguments: Any) -> None:
    """What an environment is told, and its problems as far as they are here; a dataset is fetched later."""
    if not isinstance(arguments, Mapping):
        return
    from aepo_rllib.envs.env_arguments import problems_of
    from aepo_rllib.envs.problems.bounded_files import find_file
    from aepo_rllib.envs.problems.sources import check_source
    from aepo_rllib.envs.prompts import get_template
    from aepo_rllib.envs.text_env import MathTextEnv

    check_arguments("env_config key", arguments, MathTextEnv.__init__)
    if "template" in arguments:
        get_template(arguments["template"])
    if "problems" in arguments:
        check_source(source := arguments["problems"])
        if isinstance(source, str) and find_file(source) is not None:
            problems_of(arguments)  # what is read is kept


@lru_cache
def _read() -> dict[str, Any]:
    return json.loads(TABLE.read_text(encoding="utf-8"))
