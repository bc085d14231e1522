"""`aepo pretrain`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aepo_rllib.cli.errors import check_unused, input_errors
from aepo_rllib.cli.saying import say

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from aepo_rllib.models.embedded.pretrain import PretrainRecipe

LOOKED_AT = 100
"""Traces of a family that are read beforehand."""
STORED = ("float32", "bfloat16")


@click.command("pretrain")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the Hugging Face directory goes.",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Optimizer steps; the recipe's by default.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and traces: the same model."
)
@click.option(
    "--family",
    "families",
    multiple=True,
    metavar="NAME[=WEIGHT]",
    help="Procedural family to read traces of, or several that go by one name (chain); one of your own as "
    "path/to/file.py:family; may be repeated.  [default: the recipe's four]",
)
@click.option(
    "--noise",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Share of traces that go wrong; of a chain's, of their links.  [default: the recipe's 0.3]",
)
@click.option(
    "--guesses",
    type=click.FloatRange(0, 1),
    metavar="P",
    default=0.0,
    show_default=True,
    help="Share that are guesses without steps; of a chain's, of their links.",
)
@click.option(
    "--start", metavar="DIR_OR_ID", help="Model to go on with, 'embedded' or a folder.  [default: random weights]"
)
@click.option(
    "--lr-scale",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    default=1.0,
    show_default=True,
    help="Factor of the recipe's learning rates; below 1 a model that goes on keeps more of what it can do.",
)
@click.option(
    "--dtype", type=click.Choice(STORED), default=STORED[0], show_default=True, help="What weights are stored in."
)
def pretrain_command(
    output: Path,
    steps: int | None,
    seed: int,
    families: tuple[str, ...],
    noise: float | None,
    guesses: float,
    start: str | None,
    lr_scale: float,
    dtype: str,
) -> None:
    """Make a base model: read worked solutions of training problems.

    By default it rebuilds the 0.34 M parameter Llama that ships with this package from nothing, in about five minutes
    on one core. Other families, more that goes wrong in the solutions, and a model to go on with make other bases: how
    well they solve a problem, and in how many ways, is what reinforcement learning starts from. The recipe is written
    to DIR/pretraining.json; docs/embedded-model.md has that of the base for chains.

    \b
    Examples:
      aepo pretrain --output my-base && aepo train --model my-base
      aepo pretrain --output careless --start embedded --steps 400 --noise 0.5 --guesses 0.5
      aepo pretrain --output my-base --family countdown3=3 --family my_problems.py:MyFamily
    """
    with input_errors():
        check_unused(output)
        weights = _weights(families)
    say("loading torch ...")
    import torch

    from aepo_rllib.models.embedded.pretrain import PretrainRecipe, save

    torch.set_num_threads(1)  # matrices this small only lose by sharing
    usual = PretrainRecipe()
    recipe = PretrainRecipe(
        seed=seed,
        steps=steps or usual.steps,
        families=weights or usual.families,
        noise=usual.noise if noise is None else noise,
        guesses=guesses,
        start=start,
        lr_scale=lr_scale,
        dtype=dtype,
    )
    with input_errors():
        _check(recipe)
    save(*_pretrained(recipe), output, recipe)
    click.echo(f"wrote {output}")


def _weights(families: tuple[str, ...]) -> dict[str, int]:
    """Families with their weights; none where the recipe's are meant.

    Raises:
        ValueError: an unknown family, one that comes twice, or a weight that is no whole number above 0.
    """
    from aepo_rllib.envs.problems.families import find_family
    from aepo_rllib.envs.problems.mixes import as_mix, families_of

    given: dict[str, int] = {}
    for option in families:
        for name, weight in (as_mix(option) or {option: 1}).items():
            if name in given:
                raise ValueError(f"--family {name} comes twice; add up its weights")
            given[name] = weight
    weights = families_of(given) if given else {}
    for name in weights:
        find_family(name)
    return weights


def _check(recipe: PretrainRecipe) -> None:
    """Refuse a model to start from that cannot be read, and families whose words its tokenizer has not.

    Raises:
        ValueError: names model, or family and text.
    """
    from aepo_rllib.envs.traces import draw_trace
    from aepo_rllib.models.embedded.tokenizer import build_tokenizer
    from aepo_rllib.models.hf import check_model, load_tokenizer

    if recipe.start is not None:
        check_model(recipe.start)
    tokenizer = build_tokenizer() if recipe.start is None else load_tokenizer(recipe.start)
    for name in recipe.families:
        for number in range(LOOKED_AT):
            drawn = draw_trace(name, random.Random(number), recipe.noise, recipe.guesses)
            if tokenizer.unk_token_id in tokenizer("".join(drawn))["input_ids"]:
                raise ValueError(
                    f"--family {name}: {recipe.start or 'the embedded model'} has no tokens for "
                    f"{''.join(drawn)!r:.200}; the embedded model knows the words of the embedded problems "
                    "(aepo_rllib/models/embedded/tokenizer.py), digits and + - * ( ) ."
                )


def _pretrained(recipe: PretrainRecipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model, with a bar that shows how far it is."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from aepo_rllib.models.embedded.pretrain import pretrain

    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(30),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=recipe.steps, loss=float("nan"))
        return pretrain(recipe, on_step=lambda step, loss: progress.update(task, completed=step, loss=loss))
