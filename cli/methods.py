"""`aepo methods`."""

from __future__ import annotations

import click

from aepo_rllib.cli.early import check_method, known_methods
from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.options import Known
from aepo_rllib.cli.quiet import quiet_libraries


@click.command("methods")
@click.argument("name", required=False, type=Known(known_methods))
def methods_command(name: str | None) -> None:
    """List the methods that `aepo train --algo` knows, or show one: formula, source and options.

    A method of your own is a file with a config class, named as path/to/file.py:Config or module:Config; see
    docs/extending/method.md.

    \b
    Examples:
      aepo methods
      aepo methods gspo
      aepo methods my_method.py:MyConfig
    """
    if name is not None:
        with input_errors():
            check_method(name)
    import ray  # noqa: F401 - configures its loggers on import

    quiet_libraries()
    if name is None:
        _list()
    else:
        with input_errors():
            _show(name)


def _list() -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from aepo_rllib.algorithms import ALGORITHMS, find_config
    from aepo_rllib.options_page import page_of
    from aepo_rllib.support.plugins import METHODS_GROUP, known

    table = Table(box=SIMPLE_HEAD, padding=0)
    for column in ("method", "terms of the loss", ""):
        table.add_column(column, no_wrap=column == "method")
    for name in known(ALGORITHMS, METHODS_GROUP):
        config = find_config(name)
        table.add_row(name, ", ".join(config().method().terms), page_of(config).title)
    Console(highlight=False).print(table)


def _show(name: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from aepo_rllib.algorithms import find_config
    from aepo_rllib.options_page import page_of

    config = find_config(name)
    page = page_of(config)
    console = Console(highlight=False, markup=False)
    console.print(page.title)
    if page.text:
        console.print(f"\n{page.text}")
    table = Table(box=SIMPLE_HEAD, padding=0)
    for column in ("option", "default", "values", ""):
        table.add_column(column, no_wrap=column == "option")
    shown = page.own | page.changed
    for option, declared in (shown or config.declared()).items():
        table.add_row(option, repr(declared.default), declared.values(), declared.words)
    console.print(table)
    if shown:
        console.print("and the options of every method, see docs/configuration.md")
