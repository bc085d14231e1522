"""Options of commands, made from the settings that an evaluation declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aepo_rllib.cli.options import Ks
from aepo_rllib.eval.plan import EvaluationPlan
from aepo_rllib.eval.settings import Setting, settings_of
from aepo_rllib.support.options import Option

METAVARS = {int: "N", float: "X", str: "NAME", dict: "YAML", Path: "DIR"}
ASSIGNMENTS = "KEY=VALUE"
"""What stands for the value of a mapping that is given pair by pair."""


def setting_options(*left_out: str) -> Callable[..., Any]:
    """An option for every setting of an evaluation, in their order, but for those that a command has otherwise."""
    names = [name for name in settings_of(EvaluationPlan) if name not in left_out]

    def decorate(command: Any) -> Any:
        for name in reversed(names):
            command = setting_option(name)(command)
        return command

    return decorate


def setting_option(name: str, *, unset: str | None = None) -> Callable[..., Any]:
    """The option for a setting.

    Args:
        name: Of the setting.
        unset: What it is where it is not given, in words; default the setting's own default.
    """
    declared = settings_of(EvaluationPlan)[name]
    option = declared.option
    flag = declared.flag or f"--{name.replace('_', '-')}"
    if option.kind is bool:
        return click.option(flag, name, is_flag=True, help=option.words)
    given = option.default if unset is None and not _is_unset(option) else None
    words = unset or declared.unset
    return click.option(
        flag,
        name,
        type=_type(option),
        multiple=_is_repeated(declared),
        default=given,
        show_default=given is not None,
        metavar=declared.metavar or METAVARS[option.kind],
        help=_help(declared) + (f"  [default: {words}]" if given is None and words != "none" else ""),
    )


def _help(declared: Setting) -> str:
    words = declared.option.words
    return f"{words.removesuffix('.')}; may be repeated." if _is_repeated(declared) else words


def _is_unset(option: Option) -> bool:
    return option.default is None or option.default == ()


def _is_repeated(declared: Setting) -> bool:
    several_texts = declared.option.several and declared.option.kind is str
    return several_texts or declared.metavar == ASSIGNMENTS


def _type(option: Option) -> click.ParamType | type:
    if option.several and option.kind is int:
        return Ks()
    if option.kind is Path:
        return click.Path(path_type=Path)
    if option.kind is int and option.parse is None:
        return click.IntRange(min=_whole(option.least), max=_whole(option.most))
    if option.kind is float and option.parse is None:
        least = option.least if option.above is None else option.above
        return click.FloatRange(min=least, min_open=option.above is not None, max=option.most)
    return option.kind if option.kind in (int, float) else str


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)
