"""`aepo tasks`."""

from __future__ import annotations

from importlib.resources import files

import click


@click.command("tasks")
@click.option(
    "--path",
    "show_path",
    is_flag=True,
    help="Print the folder of the YAML files, for lm_eval --include_path.",
)
def tasks_command(show_path: bool) -> None:
    """List the lm-eval suites that ship with this package.

    \b
    Example:
      lm_eval --include_path "$(aepo tasks --path)" --tasks aepo_arithmetic --model hf --model_args pretrained=DIR
    """
    folder = files("aepo_rllib.eval.tasks")
    if show_path:
        click.echo(str(folder))
        return
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".yaml"):
            click.echo(file.name.removesuffix(".yaml"))
