"""`aepo compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.options import ks_option, output_option
from aepo_rllib.cli.saying import say
from aepo_rllib.cli.table_options import by_option, format_option, print_sheets
from aepo_rllib.support.terminal import visible


class Labelled(NamedTuple):
    """A folder, and what it is to be called; None by its path."""

    label: str | None
    folder: Path


class LabelledFolder(click.ParamType):
    """`FOLDER`, or `LABEL=FOLDER`; a folder with such a name goes first."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Labelled:
        """Of a folder that is there."""
        label, sign, named = str(value).partition("=")
        if Path(value).is_dir() or not sign:
            label, named = "", str(value)
        elif not label or not named:
            self.fail(f"{value!r}: a label goes before the sign and a folder after it, as in base=eval-embedded")
        if not Path(named).is_dir():
            called = f" (to be called {visible(label)!r})" if label else ""
            self.fail(f"there is no folder {visible(named)!r}{called}", param, ctx)
        return Labelled(label or None, Path(named))


@click.command("compare")
@click.argument("evaluations", metavar="[LABEL=]A [LABEL=]B ...", nargs=-1, required=True, type=LabelledFolder())
@ks_option(".  [default: those that all of them report]")
@by_option("Also a table for every family of problems, or every level that they name.")
@format_option
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@output_option("Folder for compare.json, compare.png and compare.svg.  [default: none are written]")
def compare_command(evaluations: tuple[Labelled, ...], output: Path | None, form: str, **options: Any) -> None:
    """Compare evaluations with the first of them.

    A, B, ... are output folders of `aepo eval`, or run folders with one in them; with LABEL= they are called so.
    Differences of pass@k and maj@k are paired by problem, and their intervals hold the noise of problems and samples. A
    star marks those that are more than noise, looking at all k at once. Where the difference changes its sign beyond
    noise, the table names the k of the crossover: below it one model is better, above it the other. A second table
    counts different ways to correct answers, see docs/evaluation.md.

    \b
    Examples:
      aepo compare eval-embedded runs/grpo runs/aepo
      aepo compare base/ tuned/ --k 1,1024 -o comparison
      aepo compare base=eval-embedded AEPO=runs/aepo --by family --format latex
    """
    from aepo_rllib.eval.reports.comparison_report import comparison_sheets, write_comparison
    from aepo_rllib.eval.reports.differences import compare
    from aepo_rllib.eval.reports.evaluations import read_evaluations

    with input_errors():
        labels, folders = zip(*evaluations, strict=True)
        comparisons = compare(read_evaluations(folders, labels), **options)
        print_sheets(comparison_sheets(comparisons), form)
        if output is not None:
            write_comparison(comparisons, output)
            say(f"reports: {visible(output)}", style="")
