"""`aepo compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.options import ks_option, output_option
from aepo_rllib.support.terminal import visible


@click.command("compare")
@click.argument(
    "folders",
    metavar="A B ...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@ks_option(".  [default: those that all of them report]")
@click.option("--resamples", type=click.IntRange(min=100), default=10_000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@output_option("Folder for compare.json, compare.png and compare.svg.  [default: none are written]")
def compare_command(folders: tuple[Path, ...], output: Path | None, **options: Any) -> None:
    """Compare evaluations with the first of them.

    A, B, ... are output folders of `aepo eval`, or run folders with one in them. Differences of pass@k are paired by
    problem. Where the difference changes its sign, the table names the k of the crossover: below it one model is
    better, above it the other. Its interval, and the share of gains, come from resampling the problems. A second table
    counts different ways to correct answers, see docs/evaluation.md.

    \b
    Examples:
      aepo compare eval-embedded runs/grpo runs/aepo
      aepo compare base/ tuned/ --k 1,1024 -o comparison
    """
    from rich.console import Console

    from aepo_rllib.eval.reports.comparison_report import comparison_table, write_comparison
    from aepo_rllib.eval.reports.differences import compare
    from aepo_rllib.eval.reports.diversity_report import diversity_comparison_table
    from aepo_rllib.eval.reports.evaluations import read_evaluations

    with input_errors():
        comparisons = compare(read_evaluations(folders), **options)
        console = Console(highlight=False, markup=False)
        for comparison in comparisons:
            console.print(comparison_table(comparison))
            if comparison.diversity:
                console.print(diversity_comparison_table(comparison.suite, comparison.diversity))
        if output is not None:
            write_comparison(comparisons, output)
            click.echo(f"reports: {visible(output)}")
