"""`aepo export`."""

from __future__ import annotations

from pathlib import Path

import click

from aepo_rllib.cli.errors import RunFailed, check_unused, input_errors
from aepo_rllib.eval.copying import copy_model
from aepo_rllib.eval.target import newest_export
from aepo_rllib.support.terminal import visible


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="DIR", help="The same as FOLDER.")
@click.option(
    "--push", metavar="REPO", help="Upload the folder to this repository of the model hub, which is made if need be."
)
@click.option("--private", is_flag=True, help="With --push: make the repository a private one.")
def export_command(run: Path, folder: Path | None, output: Path | None, push: str | None, private: bool) -> None:
    """Copy the newest Hugging Face directory of RUN to FOLDER.

    RUN is a run directory or one of its checkpoints. Nothing is unpickled, no torch is needed, and no link is followed
    out of RUN. The copy has a model card (README.md) of what the run tells: data, settings, how training went, and
    scores where `aepo eval RUN` has measured these very weights.

    \b
    Examples:
      aepo export runs/aepo-20260101-120000 my-model
      aepo export runs/aepo-20260101-120000 --output my-model --push me/my-model --private
    """
    with input_errors():
        target = _target(folder, output)
        if private and push is None:
            raise ValueError("--private is about the repository that --push names; name one, or leave it out")
        if push is not None:
            _check_can_push(push)
        source = newest_export(run)
        check_unused(target)
        copy_model(source, target, within=run)
        _write_card(run, target)
    click.echo(visible(f"{source} -> {target}"))
    if push is not None:
        _push(target, push, private)


def _target(folder: Path | None, output: Path | None) -> Path:
    """Where to copy to."""
    if folder is not None and output is not None:
        raise ValueError(f"two folders to export to: {folder} and --output {output}; name one")
    target = output if folder is None else folder
    if target is None:
        raise ValueError("name the folder to export to: aepo export RUN FOLDER")
    return target


def _write_card(run: Path, target: Path) -> None:
    from aepo_rllib.cli.run_card import write_card

    for complaint in write_card(run, target):
        click.secho(visible(complaint), fg="yellow", err=True)


def _check_can_push(repository: str) -> None:
    from aepo_rllib.models.hub_upload import check_can_push

    check_can_push(repository)


def _push(target: Path, repository: str, private: bool) -> None:
    from aepo_rllib.models.hub_upload import push

    try:
        address = push(target, repository, private=private)
    except OSError as error:
        raise RunFailed(
            f"{error}; the model is in {target}, try again with: hf upload {repository} {target}"
        ) from error
    click.echo(visible(f"{target} -> {address}"))
