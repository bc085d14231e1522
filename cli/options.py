"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem


class Ks(click.ParamType):
    """Comma-separated values of k, in any order."""

    name = "K,K,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Sorted and distinct."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(sorted({int(part) for part in value.split(",")}))
        except ValueError:
            self.fail(f"{value!r} is not a comma-separated list of whole numbers, such as 1,8,64", param, ctx)


class Known(click.ParamType):
    """A name of this package's, or of the user's own; shells complete the former.

    Args:
        names: The package's.
    """

    name = "name"

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Those that begin so."""
        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]


def ks_option(explanation: str) -> Callable[..., Any]:
    """`--k`."""
    return click.option("--k", "ks", type=Ks(), help=f"Values of k{explanation}")


def output_option(explanation: str) -> Callable[..., Any]:
    """`--output` and `-o`: a folder that need not exist."""
    return click.option(
        "--output", "-o", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help=explanation
    )
