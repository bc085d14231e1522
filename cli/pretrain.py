"""`aepo pretrain`."""

from __future__ import annotations

from pathlib import Path

import click

from aepo_rllib.cli.errors import check_unused, input_errors


@click.command("pretrain")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the Hugging Face directory goes.",
)
@click.option("--steps", type=int, metavar="N", help="Optimizer steps; the recipe's number by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of weights and traces.")
def pretrain_command(output: Path, steps: int | None, seed: int) -> None:
    """Rebuild the embedded model from nothing.

    Trains the 0.34 M parameter Llama that ships with this package on freshly generated arithmetic traces, in about
    five minutes on one core. The recipe stands in aepo_rllib/models/embedded/pretrain.py.

    \b
    Example:
      aepo pretrain --output my-base && aepo train --model my-base
    """
    with input_errors():
        check_unused(output)
        if steps is not None and steps < 1:
            raise ValueError(f"--steps {steps} must be at least 1")
    click.echo("loading torch ...", err=True)
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from aepo_rllib.models.embedded.pretrain import PretrainRecipe, pretrain, save

    torch.set_num_threads(1)  # matrices this small only lose by sharing
    recipe = PretrainRecipe(seed=seed) if steps is None else PretrainRecipe(seed=seed, steps=steps)
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(30),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=recipe.steps, loss=float("nan"))
        model, tokenizer = pretrain(recipe, on_step=lambda step, loss: progress.update(task, completed=step, loss=loss))
    save(model, tokenizer, output)
    click.echo(f"wrote {output}")
