"""`aepo regrade`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.eval import Ks, show
from aepo_rllib.cli.quiet import quiet_libraries


@click.command("regrade")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--grader", metavar="NAME", help="How answers are judged.  [default: as before]")
@click.option("--n", type=click.IntRange(min=1), metavar="N", help="Samples per problem.  [default: as before]")
@click.option("--k", "ks", type=Ks(), help="Values of k, none above n.  [default: powers of two up to n]")
def regrade_command(folder: Path, **options: Any) -> None:
    """Judge the stored samples of an evaluation again.

    DIR is the output folder of `aepo eval`. Its reports are written anew; nothing is sampled, and the model is not
    needed. An evaluation that was interrupted will do: where a problem has fewer than k samples, pass@k is undefined.

    \b
    Examples:
      aepo regrade eval-embedded
      aepo regrade runs/aepo/eval --grader qwen2.5-math
    """
    from aepo_rllib.envs.grading import get_verifier

    with input_errors():
        if options["grader"]:
            get_verifier(options["grader"])
        quiet_libraries()
        from aepo_rllib.eval.run import regrade

        summary = regrade(folder, **options)
    show(summary, folder)
