"""Options of commands that print tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

FORMS = ("table", "md", "csv", "latex")
"""As `aepo_rllib.eval.reports.sheet_text.FORMATS`; spelled out because importing that takes a while."""
PARTS = ("family", "level")


def format_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--format`."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMS),
        default="table",
        show_default=True,
        help="Of the tables on standard output: for a terminal, Markdown, CSV (a line a number), or LaTeX (booktabs).",
    )(command)


def by_option(explanation: str) -> Callable[..., Any]:
    """`--by`."""
    return click.option("--by", type=click.Choice(PARTS), help=explanation)


def print_sheets(sheets: Any, form: str) -> None:
    """Tables on standard output."""
    from rich.console import Console

    from aepo_rllib.eval.reports.sheet_text import write_sheets

    write_sheets(sheets, form, Console(highlight=False, markup=False))
