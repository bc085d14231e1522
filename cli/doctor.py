"""`aepo doctor`."""

from __future__ import annotations

from typing import Any

import click

from aepo_rllib.cli.early import check_model_name, tell_of_hub
from aepo_rllib.cli.errors import InputError, input_errors
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.saying import say

CAPTION = """log-probs: largest |pi/pi_old - 1| over freshly sampled tokens
gradient: relative difference to one padded pass, the worst over 1-3 passes, padded and shared prompts, two orders"""
OF_ENTROPY = {"count": "--count", "samples": "--samples", "seed": "--seed", "assignments": "--set", "as_json": "--json"}
"""Options that a forecast alone has."""


@click.command("doctor")
@click.argument("model", default="embedded")
@click.option("--dtype", default="float32", show_default=True, metavar="NAME", help="float32, bfloat16 or float64.")
@click.option("--problems", default="arithmetic", show_default=True, metavar="SOURCE", help="Problems to complete.")
@click.option("--template", default="plain", show_default=True, metavar="NAME", help="Prompt template.")
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True, metavar="N", help="Of a completion."
)
@click.option("--entropy", is_flag=True, help="Forecast the entropy instead: what AEPO could hold it at.")
@click.option("--count", type=click.IntRange(min=2), metavar="N", help="With --entropy: problems.  [default: 64]")
@click.option(
    "--samples", type=click.IntRange(min=2), metavar="N", help="With --entropy: completions of a problem.  [default: 8]"
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="With --entropy: of problems and completions.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="With --entropy: an option of AEPO, such as alpha or temperature_high; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="With --entropy: for machines.")
def doctor_command(entropy: bool, **options: Any) -> None:
    """Check that a model trains here as the method assumes.

    Samples a few completions of MODEL (a Hugging Face folder or id) and compares what must agree: the rollout engine's
    log-probs with the learner's, and the gradient of one batch however it is dealt to learners, cut into passes, padded
    or ordered. Trains nothing. Exits with 1 when a figure is out of its bound.

    With --entropy it samples the model at several temperatures and says what its entropy is, which way training would
    pull it, and which targets AEPO could hold; docs/forecast.md says how far to trust it. Exits with 1 when there is a
    risk.

    \b
    Examples:
      aepo doctor
      aepo doctor my-model --problems gsm8k.jsonl --template boxed --max-new-tokens 256
      aepo doctor my-model --entropy --set alpha=2
    """
    with input_errors():
        check_model_name(options["model"])
    tell_of_hub(options["model"])
    own = {name: options.pop(name) for name in OF_ENTROPY}
    if entropy:
        from aepo_rllib.cli.entropy_forecast import show_forecast

        show_forecast(**options, **own)
        return
    if given := [OF_ENTROPY[name] for name, value in own.items() if value not in (None, (), False)]:
        raise InputError(f"{', '.join(given)}: of a forecast alone; add --entropy")
    _check_agreement(**options)


def _check_agreement(model: str, **settings: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    say("loading torch and ray ...")
    import ray  # noqa: F401 - configures its loggers on import

    quiet_libraries()
    import torch

    torch.set_num_threads(1)
    from aepo_rllib.doctor.agreement import examine

    title = f"{model}, {settings['dtype']}"
    table = Table(title=title, title_justify="left", caption=CAPTION, caption_justify="left")
    for column in ("check", "figure", "bound", ""):
        table.add_column(column, justify="left" if column == "check" else "right")
    fine = True
    with input_errors(), console.status("sampling and comparing ..."):
        for finding in examine(model, **settings):
            table.add_row(finding.check, f"{finding.figure:.1e}", f"{finding.bound:g}", "ok" if finding.fine else "OUT")
            fine &= finding.fine
    console.print(table)
    if not fine:
        raise SystemExit(1)
