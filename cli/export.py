"""`aepo export`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from aepo_rllib.cli.errors import check_unused, input_errors
from aepo_rllib.cli.run_folder import HUGGINGFACE, RunFolder


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("folder", type=click.Path(path_type=Path))
def export_command(run: Path, folder: Path) -> None:
    """Copy the newest Hugging Face directory of RUN to FOLDER.

    RUN is a run directory or one of its checkpoints. Nothing is unpickled, and no torch is needed.

    \b
    Example:
      aepo export runs/aepo-20260101-120000 my-model
    """
    with input_errors():
        source = find_huggingface(run)
        check_unused(folder)
        shutil.copytree(source, folder, dirs_exist_ok=True)
    click.echo(f"{source} -> {folder}")


def find_huggingface(run: Path) -> Path:
    """The newest Hugging Face directory of a run or checkpoint.

    Raises:
        ValueError: there is none.
    """
    candidates = [run / HUGGINGFACE, *(c / HUGGINGFACE for c in reversed(RunFolder(run).checkpoints()))]
    for candidate in candidates:
        if (candidate / "config.json").is_file():
            return candidate
    raise ValueError(f"{run} holds no Hugging Face directory: no step of that run was saved yet")
