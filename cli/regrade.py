"""`aepo regrade`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.eval import show
from aepo_rllib.cli.options import output_option
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.setting_options import setting_option


@click.command("regrade")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@setting_option("grader", unset="as last time")
@setting_option("answer_form", unset="as last time")
@setting_option("n", unset="as before")
@setting_option("ks")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="FILE",
    help="YAML file of a task of your own that was evaluated; may be repeated.",
)
@setting_option("include_path")
@output_option("Folder for the reports.  [default: they replace those in DIR]")
def regrade_command(folder: Path, **options: Any) -> None:
    """Judge the stored samples of an evaluation again.

    DIR is the output folder of `aepo eval`, whoever made it, or a run folder with one in it. Its reports are written
    anew; nothing is sampled, and the model is not needed, only the problems. An evaluation that was interrupted will
    do: where a problem has fewer than k samples, pass@k is undefined. Where a suite has none, nothing is written.

    Problems of your own are read from the copy in DIR. Nothing that DIR names is run: name tasks of your own again with
    --suite FILE or --include-path, and a function of your own that judges answers with --grader.

    \b
    Examples:
      aepo regrade eval-embedded
      aepo regrade runs/aepo --grader qwen2.5-math -o lenient
      aepo compare runs/aepo lenient
    """
    from aepo_rllib.envs.grading import get_verifier
    from aepo_rllib.eval.suites.own import split_suites

    with input_errors():
        if options["grader"]:
            get_verifier(options["grader"])
        split_suites(options["suites"], options["include_path"])
        quiet_libraries()
        from aepo_rllib.eval.regrading import regrade
        from aepo_rllib.eval.spec import SPEC, report_folder

        folder = report_folder(folder, SPEC)
        summary = regrade(folder, **options)
    show(summary, options["output"] or folder)
