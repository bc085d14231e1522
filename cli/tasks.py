"""`aepo tasks`."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.support.terminal import visible

if TYPE_CHECKING:
    from rich.table import Table

    from aepo_rllib.eval.suites.catalogue import Suite

SHOWN_EXCEPTIONS = 5


@click.command("tasks")
@click.option(
    "--path", "show_path", is_flag=True, help="Print the folder of the YAML files, for lm_eval --include_path."
)
@click.option(
    "--check", is_flag=True, help="Read every suite's problems, and judge its known answers by its own grader."
)
@click.argument("names", metavar="[SUITE]...", nargs=-1)
def tasks_command(show_path: bool, check: bool, names: tuple[str, ...]) -> None:
    """List the lm-eval suites that ship with this package, and where their problems come from.

    Embedded suites need nothing. The problems of the others are read from `.jsonl` files in the folder AEPO_DATA_DIR
    (one object a line: id, problem, answer), or else from Hugging Face. docs/suites.md shows how problems of your own
    become a suite: `aepo eval --problems FILE` needs no more than the file.

    \b
    Examples:
      AEPO_DATA_DIR=data aepo tasks
      AEPO_DATA_DIR=data aepo tasks --check aepo_math500 aepo_aime24
      lm_eval --include_path "$(aepo tasks --path)" --tasks aepo_arithmetic --model hf --model_args pretrained=DIR
    """
    if show_path:
        click.echo(str(files("aepo_rllib.eval.suites.shipped")))
        return
    from aepo_rllib.eval.suites.catalogue import all_suites, expand
    from aepo_rllib.eval.suites.naming import check_suites

    with input_errors():
        check_suites(names)
    if check:
        failures = [_check(name) for name in expand(names or tuple(all_suites()))]
        raise SystemExit(int(any(failures)))
    with input_errors():
        _show(names or tuple(all_suites()))


def _show(names: tuple[str, ...]) -> None:
    """Suites and groups, in a table each."""
    from rich.console import Console

    from aepo_rllib.envs.problems import DATA_DIR_VARIABLE
    from aepo_rllib.eval.suites.catalogue import all_suites

    console = Console(highlight=False, markup=False)
    chosen = [all_suites()[name] for name in names]
    if suites := [suite for suite in chosen if not suite.members]:
        table = _table("suite", "version", "problems", "judged by", "read from now")
        for suite in suites:
            judged = str(suite.data.get("verifier", "the problem"))
            table.add_row(suite.name, suite.version, str(suite.problems or ""), judged, _origin(suite))
        console.print(table)
    if groups := [suite for suite in chosen if suite.members]:
        table = _table("group", "version", "macro average of")
        for suite in groups:
            members = ", ".join(member.removeprefix("aepo_") for member in suite.members)
            table.add_row(suite.name, suite.version, members)
        console.print(table)
    note = f"Datasets are on Hugging Face; a file of that name in the folder {DATA_DIR_VARIABLE} goes before them."
    console.print(note, style="dim")


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=0)
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _origin(suite: Suite) -> str:
    """Where its problems come from, what differs from suite to suite first."""
    from aepo_rllib.envs.problems import find_file

    if "file" not in suite.data or find_file(suite.data["file"]):
        return visible(suite.origin())
    file = f"{suite.data['file']}.jsonl"
    return f"{suite.data['hub']}, or {file}" if "hub" in suite.data else f"{file}, which is missing"


def _check(name: str) -> bool:
    """Print what is wrong with one suite; whether something is."""
    from aepo_rllib.envs.grading import Grader
    from aepo_rllib.envs.problems import ProblemError
    from aepo_rllib.eval.data import as_problem, load_docs
    from aepo_rllib.eval.suites.catalogue import all_suites

    suite = all_suites()[name]
    try:
        problems = [as_problem(doc) for doc in load_docs(**suite.data)["test"]]
    except ProblemError as error:
        click.echo(visible(f"{name}: {error}"))
        return True
    with Grader() as grader:
        grades = grader.grade_batch(problems, (f"\\boxed{{{problem.answer}}}" for problem in problems))
    failing = [(p, g) for p, g in zip(problems, grades, strict=True) if g.verdict.reward == 0]
    published = "" if suite.problems in (None, len(problems)) else f" (published with {suite.problems})"
    click.echo(
        f"{name}: {len(problems)} problems{published}, "
        f"{len(problems) - len(failing)} known answers pass their own grader"
    )
    for problem, grade in failing[:SHOWN_EXCEPTIONS]:
        click.echo(visible(f"  {problem.id}: {grade.verdict.value}: {problem.answer:.80}"))
    if len(failing) > SHOWN_EXCEPTIONS:
        click.echo(f"  and {len(failing) - SHOWN_EXCEPTIONS} more")
    return bool(failing or published)
