"""`aepo doctor`."""

from __future__ import annotations

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.quiet import quiet_libraries

CAPTION = """log-probs: largest |pi/pi_old - 1| over freshly sampled tokens
gradient: relative difference to one padded pass, the worst over 1-3 passes, padded and shared prompts, two orders"""


@click.command("doctor")
@click.argument("model", default="embedded")
@click.option("--dtype", default="float32", show_default=True, metavar="NAME", help="float32, bfloat16 or float64.")
@click.option("--problems", default="arithmetic", show_default=True, metavar="SOURCE", help="Problems to complete.")
@click.option("--template", default="plain", show_default=True, metavar="NAME", help="Prompt template.")
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True, metavar="N", help="Of a completion."
)
def doctor_command(model: str, dtype: str, problems: str, template: str, max_new_tokens: int) -> None:
    """Check that a model trains here as the method assumes.

    Samples a few completions of MODEL (a Hugging Face folder or id) and compares what must agree: the rollout engine's
    log-probs with the learner's, and the gradient of one batch however it is dealt to learners, cut into passes, padded
    or ordered. Trains nothing. Exits with 1 when a figure is out of its bound.

    \b
    Examples:
      aepo doctor
      aepo doctor my-model --problems gsm8k.jsonl --template boxed --max-new-tokens 256
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.print("loading torch and ray ...", style="dim")
    import ray  # noqa: F401 - configures its loggers on import

    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    from aepo_rllib.doctor import examine

    table = Table(title=f"{model}, {dtype}", title_justify="left", caption=CAPTION, caption_justify="left")
    for column in ("check", "figure", "bound", ""):
        table.add_column(column, justify="left" if column == "check" else "right")
    fine = True
    with input_errors(), console.status("sampling and comparing ..."):
        for finding in examine(model, dtype=dtype, problems=problems, template=template, max_new_tokens=max_new_tokens):
            table.add_row(finding.check, f"{finding.figure:.1e}", f"{finding.bound:g}", "ok" if finding.fine else "OUT")
            fine &= finding.fine
    console.print(table)
    if not fine:
        raise SystemExit(1)
