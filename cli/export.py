"""`aepo export`."""

from __future__ import annotations

from pathlib import Path

import click

from aepo_rllib.cli.errors import check_unused, input_errors
from aepo_rllib.eval.copying import copy_model
from aepo_rllib.eval.target import newest_export
from aepo_rllib.support.terminal import visible


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("folder", type=click.Path(path_type=Path))
def export_command(run: Path, folder: Path) -> None:
    """Copy the newest Hugging Face directory of RUN to FOLDER.

    RUN is a run directory or one of its checkpoints. Nothing is unpickled, no torch is needed, and no link is followed
    out of RUN.

    \b
    Example:
      aepo export runs/aepo-20260101-120000 my-model
    """
    with input_errors():
        source = newest_export(run)
        check_unused(folder)
        copy_model(source, folder, within=run)
    click.echo(visible(f"{source} -> {folder}"))
