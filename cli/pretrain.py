"""`aepo pretrain`."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import click

from aepo_rllib.cli.errors import check_unused, input_errors

LOOKED_AT = 100
"""Traces of a family that are read beforehand."""


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
@click.option(
    "--family",
    "families",
    multiple=True,
    metavar="NAME[=WEIGHT]",
    help="Procedural family to read traces of, one of your own as path/to/file.py:family; may be repeated.  [default: "
    "the recipe's four]",
)
def pretrain_command(output: Path, steps: int | None, seed: int, families: tuple[str, ...]) -> None:
    """Rebuild the embedded model from nothing.

    Trains the 0.34 M parameter Llama that ships with this package on freshly generated arithmetic traces, in about
    five minutes on one core. The recipe stands in aepo_rllib/models/embedded/pretrain.py.

    \b
    Examples:
      aepo pretrain --output my-base && aepo train --model my-base
      aepo pretrain --output my-base --family countdown3=3 --family my_problems.py:MyFamily
    """
    with input_errors():
        check_unused(output)
        if steps is not None and steps < 1:
            raise ValueError(f"--steps {steps} must be at least 1")
        weights = _weights(families)
    click.echo("loading torch ...", err=True)
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from aepo_rllib.models.embedded.pretrain import PretrainRecipe, pretrain, save

    torch.set_num_threads(1)  # matrices this small only lose by sharing
    with input_errors():
        _check_words(weights)
    usual = PretrainRecipe()
    recipe = PretrainRecipe(seed=seed, steps=steps or usual.steps, families=weights or usual.families)
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


def _weights(families: tuple[str, ...]) -> dict[str, int]:
    """Families with their weights; none where the recipe's are meant.

    Raises:
        ValueError: an unknown family, or a weight that is no whole number above 0.
    """
    from aepo_rllib.envs.problems.families import find_family

    weights = {}
    for given in families:
        name, equals, weight = given.partition("=")
        if equals and not (weight.isascii() and weight.isdigit() and int(weight) > 0):
            raise ValueError(f"--family {given}: the weight must be a whole number above 0")
        find_family(name)
        weights[name] = int(weight or 1)
    return weights


def _check_words(families: Iterable[str]) -> None:
    """Refuse families whose words the embedded model's tokenizer has not.

    Raises:
        ValueError: names the text.
    """
    from aepo_rllib.envs.traces import draw_trace
    from aepo_rllib.models.embedded.tokenizer import UNK, build_tokenizer

    tokenizer = build_tokenizer()
    for name in families:
        for number in range(LOOKED_AT):
            text = "".join(draw_trace(name, "train", random.Random(number)))
            if UNK in tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]):
                raise ValueError(
                    f"--family {name}: the embedded model has no tokens for {text!r:.200}; it knows the words of the "
                    "embedded problems (aepo_rllib/models/embedded/tokenizer.py), digits and + - * ( ) ."
                )
