"""`aepo plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.support.terminal import visible

FORMATS = ("png", "pdf", "svg")


class LabelledRun(click.ParamType):
    """A run's folder, perhaps with what it is to be called: `label=folder`."""

    name = "RUN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, Path]:
        """Label, or None, and folder; a folder that has an equals sign in its name is one."""
        if isinstance(value, tuple):
            return value
        label, equals, path = str(value).partition("=")
        if equals and not Path(value).is_dir():
            found: tuple[str | None, Path] = label, Path(path)
        else:
            found = None, Path(value)
        if not found[1].is_dir():
            self.fail(f"there is no folder {str(found[1])!r}", param, ctx)
        return found


class PictureFile(click.Path):
    """A file whose ending names a format that pictures are written in."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Its path."""
        path = super().convert(value, param, ctx)
        if Path(str(path)).suffix[1:] not in FORMATS:
            self.fail(f"{str(value)!r} must end with .{', .'.join(FORMATS)}", param, ctx)
        return path


@click.command("plot")
@click.argument("runs", metavar="RUN RUN ...", nargs=-1, required=True, type=LabelledRun())
@click.option(
    "--by",
    multiple=True,
    default=("seed",),
    show_default=True,
    metavar="KEY",
    help="Setting that may differ among the runs of one curve. May be repeated; `none` draws every run alone.",
)
@click.option(
    "--metric",
    "names",
    multiple=True,
    metavar="NAME",
    help="A panel for this metric: entropy, reward, pass@1, or one of docs/metrics.md. May be repeated.  [default: "
    "these three, as far as there are any]",
)
@click.option(
    "--window", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Steps of a running mean."
)
@click.option(
    "--output", "-o", type=PictureFile(), default="plot.png", show_default=True, metavar="FILE", help="PNG, PDF or SVG."
)
def plot_command(
    runs: tuple[tuple[str | None, Path], ...], by: tuple[str, ...], names: tuple[str, ...], window: int, output: Path
) -> None:
    """Draw the training curves of several runs over one another.

    RUN is a run directory, or label=directory. Runs that differ in nothing but their seed are one curve, the mean, with
    a band from the lowest to the highest; so are runs of one label.

    \b
    Examples:
      aepo plot runs/grpo runs/aepo
      aepo plot runs/grpo-seed* runs/aepo-seed* --metric entropy -o seeds.png
      aepo plot GRPO=runs/a AEPO=runs/b AEPO=runs/c --metric main/completion_tokens
    """
    from aepo_rllib.cli.overlay import PANELS, check_metrics, draw_overlay, known_metrics, read_curves

    with input_errors():
        curves = read_curves(runs, () if "none" in by else by)
        check_metrics(names, curves)
        names = names or tuple(name for name in PANELS if name in known_metrics(curves))
        draw_overlay(curves, names, output, window=window)
    for curve in curves:
        click.echo(visible(curve.label))
    click.echo(f"drawn: {visible(output)}")
