"""`aepo study` and `aepo court`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aepo_rllib.cli.errors import RunFailed, input_errors
from aepo_rllib.cli.options import output_option
from aepo_rllib.cli.saying import say, warn
from aepo_rllib.cli.study.file import StudyFile, find_study
from aepo_rllib.cli.study.reading import folder_name, read_study
from aepo_rllib.study.study import BASE_ARM, Study, shipped
from aepo_rllib.support.locks import claimed
from aepo_rllib.support.terminal import visible

if TYPE_CHECKING:
    from aepo_rllib.cli.study.trial import Trial

COURT = "court"
REPORT = "report"
OPTIONS = (
    output_option(
        "Folder of the trials, tables and the report.  [default: runs/study-NAME, with -quick for the small form]"
    ),
    click.option("--quick", is_flag=True, help="The study's small form: a look at whether all of it works."),
    click.option(
        "--only",
        multiple=True,
        metavar="NAME",
        help="Only this arm, or what this figure or table needs; may be repeated.",
    ),
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        default=2,
        show_default=True,
        metavar="N",
        help="Trials at a time, one thread each; no more than there are CPUs.",
    ),
    click.option(
        "--page",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE.md",
        help="Write figures and tables into this page, too: between <!-- table NAME --> and <!-- /table NAME -->.",
    ),
    click.option("--report-only", is_flag=True, help="Train nothing: draw the report again from the stored tables."),
    click.option(
        "--elsewhere",
        is_flag=True,
        help="With --dry-run: model, problems, engine and GPUs are on another machine; all else is checked.",
    ),
    click.option("--dry-run", is_flag=True, help="Check everything, print the trials and an estimate, and stop."),
)


def _options(command: Any) -> Any:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command("study")
@click.argument("name_or_file", required=False)
@click.option("--list", "listed", is_flag=True, help="List the studies that the package brings along.")
@_options
def study_command(name_or_file: str | None, listed: bool, **options: Any) -> None:
    """Compare methods side by side: arms x seeds as trials of Ray Tune, then tables, figures and a page.

    NAME_OR_FILE is a study that the package brings along (`--list`), or a YAML file of your own, docs/study.md.

    Every trial is a run folder as `aepo train` makes it, so that `aepo eval`, `aepo compare` and `aepo train --resume`
    work on it. After Ctrl-C, a kill or a crash the same command goes on: finished trials are left alone, begun ones go
    on from their checkpoints.

    \b
    Examples:
      aepo study court --dry-run
      aepo study paper --only figure1 --only table3 --page docs/results.md
      aepo study court --only grpo --only "aepo 0.75x" --output runs/two
      aepo study mine.yaml --jobs 4 --page docs/mine.md
    """
    if listed:
        with input_errors():
            for name, path in shipped().items():
                click.echo(f"{name}  {read_study(StudyFile(path)).title}")
        return
    if name_or_file is None:
        raise click.UsageError("name a study, or a file; --list names those that there are")
    _study(name_or_file, **options)


@click.command(COURT)
@_options
def court_command(**options: Any) -> None:
    """All methods and entropy controllers side by side: short for `aepo study court`."""
    _study(COURT, **options)


def _study(name_or_file: str, *, quick: bool, report_only: bool, **options: Any) -> None:
    with input_errors(), contextlib.ExitStack() as claims:
        file = StudyFile(find_study(name_or_file))
        whole = read_study(file, quick=quick)
        study = _part(whole, options["only"])
        root = options["output"] or Path("runs") / f"study-{study.name}{'-quick' if quick else ''}"
        if report_only:
            report(study, root, options["page"])
            return
        if options["elsewhere"] and not options["dry_run"]:
            raise ValueError("--elsewhere only looks at a study: give --dry-run as well")
        say("loading torch and ray ...")
        every = _planned(_begun(whole, study, root), file, root, elsewhere=options["elsewhere"])
        trials = _trials_of(study, every)
        if options["dry_run"]:
            show_plan(study, trials, options["jobs"])
            return
        root.mkdir(parents=True, exist_ok=True)
        claims.enter_context(claimed(root))
        failures = _run(trials, root, options["jobs"])
        _store(whole, every, root)
        report(study, root, options["page"])
    _end(trials, failures)


def _part(study: Study, names: Sequence[str]) -> Study:
    """What `--only` says of it.

    Raises:
        ValueError: an unknown name.
    """
    try:
        return study.part(names) if names else study
    except ValueError as error:
        raise ValueError(f"--only: {error}") from error


def _begun(whole: Study, part: Study, root: Path) -> Study:
    """What a part of a study can tell of: its own arms, and those that have trials from earlier commands."""
    there = {arm for arm in whole.arms if any(root.glob(f"{folder_name(arm)}-seed*"))}
    base = whole.with_base and (root / folder_name(BASE_ARM)).is_dir()
    arms = {arm: settings for arm, settings in whole.arms.items() if arm in part.arms or arm in there}
    return replace(whole, arms=arms, with_base=part.with_base or base)


def _trials_of(study: Study, every: Sequence[Trial]) -> list[Trial]:
    """Those of a part of the study; evaluated are those alone whose scores it shows."""
    return [
        trial if trial.arm in study.evaluated else replace(trial, evaluation=None)
        for trial in every
        if trial.arm in study.groups
    ]


def _planned(study: Study, file: StudyFile, root: Path, **options: bool) -> list[Trial]:
    import ray  # noqa: F401 - configures its loggers on import

    from aepo_rllib.cli.quiet import quiet_libraries

    quiet_libraries()
    from aepo_rllib.cli.study.plan import plan

    return plan(study, file, root, **options)


def _run(trials: Sequence[Trial], root: Path, jobs: int) -> dict[str, str]:
    """Run what is left."""
    left = [trial for trial in trials if not trial.is_finished()]
    say(f"{len(trials) - len(left)} of {len(trials)} trials have ended before; their folders: {visible(root)}")
    if not left:
        return {}
    from aepo_rllib.cli.study.showing import Shown
    from aepo_rllib.cli.study.trials import run_trials

    with Shown(trials):
        return run_trials(left, root, jobs=jobs)


def _store(study: Study, trials: Sequence[Trial], root: Path) -> None:
    from aepo_rllib.cli.study.gather import gather

    gather(study, trials).write(root / REPORT)


def report(study: Study, root: Path, page: Path | None) -> None:
    """Draw the report from the stored tables, beside them and into a page.

    Raises:
        ValueError: there are none.
    """
    from aepo_rllib.cli.study.showing import show_report
    from aepo_rllib.study.report import PAGE, write_report
    from aepo_rllib.study.tables import read_tables

    tables = read_tables(root / REPORT)
    if not len(tables.steps):
        say("no trial has been trained to its end: there is nothing to report yet", style="")
        return
    written = [write_report(study, tables, file) for file in [root / PAGE, *([page] if page else [])]]
    show_report(written[0])
    for each in written[1:]:
        click.echo(f"written into {visible(each.page)}")


def show_plan(study: Study, trials: Sequence[Trial], jobs: int) -> None:
    """Print every arm, what its trials sample, and how long all of it takes."""
    from rich.console import Console

    from aepo_rllib.cli.study.showing import plan_table

    Console(highlight=False, markup=False).print(plan_table(study, trials, jobs))


def _end(trials: Sequence[Trial], failures: dict[str, str]) -> None:
    """Say what is left, and end with 1 where something is."""
    left = [trial for trial in trials if not trial.is_finished()]
    for name, why in failures.items():
        warn(visible(f"{name}: {why}"))
    if left:
        raise RunFailed(f"{len(left)} of {len(trials)} trials have not ended; the same command goes on with them")
