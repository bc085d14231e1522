"""How a setting of an evaluation is declared: once, with its default, its range, its words, and where it goes.

    top_p: float = setting(1.0, "Nucleus filter; 1 is off.", above=0, most=1, generation="top_p")

From there come its check (in Python, on the command line, in a folder that somebody has sent), its option of
`aepo eval`, its place in `evaluation.json`, and what lm-eval is told of it.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aepo_rllib.support.options import Option, option

WIDTH = 108
_KEY = "setting"


@dataclass(frozen=True)
class Setting:
    """A declared setting.

    Attributes:
        option: Its default, range and words.
        unset: What None stands for, in words.
        flag: Its option on the command line, where that is not its name.
        metavar: What stands for a value in the help text.
        free: Whether it may change while an evaluation is continued.
        later: Whether the first versions of `evaluation.json` lack it: it is written where it is not the default.
        generation: What lm-eval calls it among the generation arguments; those of a suite stay where it is None.
        metadata: What `aepo_rllib.eval.task.PassAtKTask` calls it.
    """

    option: Option
    unset: str = ""
    flag: str = ""
    metavar: str = ""
    free: bool = False
    later: bool = False
    generation: str = ""
    metadata: str = ""

    def words(self) -> str:
        """What it is for, with its default."""
        default = self.unset or repr(self.option.default)
        return f"{self.option.words} Default: {default.removesuffix('.')}."


def setting(
    default: Any,
    words: str,
    *,
    unset: str = "",
    flag: str = "",
    metavar: str = "",
    free: bool = False,
    later: bool = False,
    generation: str = "",
    metadata: str = "",
    **bounds: Any,
) -> Any:
    """Declare a setting in the body of a dataclass; typed as its value.

    Args:
        default: Its value where nothing is set.
        words: What it is for, in sentences.
        unset, flag, metavar, free, later, generation, metadata: See `Setting`.
        bounds: Further arguments of `aepo_rllib.support.options.option`.
    """
    declared = Setting(
        option(default, words, **bounds),
        unset=unset,
        flag=flag,
        metavar=metavar,
        free=free,
        later=later,
        generation=generation,
        metadata=metadata,
    )
    return dataclasses.field(default=default, metadata={_KEY: declared})


def settings_of(cls: type) -> dict[str, Setting]:
    """The settings that a dataclass and its bases declare, by name."""
    return {field.name: field.metadata[_KEY] for field in dataclasses.fields(cls) if _KEY in field.metadata}


def arguments_text(settings: Mapping[str, Setting]) -> str:
    """The "Args" of a docstring."""
    lines = [
        line
        for name, declared in settings.items()
        for line in textwrap.wrap(
            f"{name}: {declared.words()}", WIDTH, initial_indent="    ", subsequent_indent="        "
        )
    ]
    return "\n".join(["Args:", *lines])
