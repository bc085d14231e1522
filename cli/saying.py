"""What a command says beside its results: notes and progress on standard error, and how much of it.

Every command takes `-q` and `-v`. Results, warnings and errors are shown whatever these say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

QUIET, USUAL, VERBOSE = -1, 0, 1
_LOUDNESS = f"{__name__}.loudness"


def loudness() -> int:
    """Of the command that runs in this thread: QUIET, USUAL or VERBOSE."""
    context = click.get_current_context(silent=True)
    return USUAL if context is None else context.meta.get(_LOUDNESS, USUAL)


def loudness_options() -> list[click.Option]:
    """`-q` and `-v`."""

    def set_to(value: int) -> Any:
        def callback(context: click.Context, _: click.Parameter, given: bool) -> None:
            if given and context.meta.setdefault(_LOUDNESS, value) != value:
                raise click.UsageError("-q and -v: choose one", context)

        return callback

    words = {
        "--quiet": "Show results, warnings and errors alone: no notes, no progress.",
        "--verbose": "Show what Ray, lm-eval and transformers log, and the traceback of an error.",
    }
    return [
        click.Option(
            [flag[1:3], flag], is_flag=True, is_eager=True, expose_value=False, callback=set_to(value), help=words[flag]
        )
        for flag, value in (("--quiet", QUIET), ("--verbose", VERBOSE))
    ]


def notes() -> Console:
    """Where notes and progress go."""
    return _console(quiet=loudness() == QUIET)


def errors() -> Console:
    """Where warnings go: standard error, whatever `-q` says."""
    return _console(quiet=False)


def say(text: str, style: str = "dim") -> None:
    """A note."""
    notes().print(text, style=style, soft_wrap=True)


def warn(text: str) -> None:
    """A warning, or what has gone wrong."""
    errors().print(text, style="yellow", soft_wrap=True)


def _console(*, quiet: bool) -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, quiet=quiet)
