"""`aepo problems`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.saying import say
from aepo_rllib.support.terminal import visible

if TYPE_CHECKING:
    from aepo_rllib.envs.problems import Problem
    from aepo_rllib.envs.prompts import PromptTemplate

SHOWN_EXCEPTIONS = 10
FRAMED = {"none": "", "chatml": ", in ChatML", "model": ", in the model's own chat template"}


@click.command("problems")
@click.argument("source", default="arithmetic")
@click.option(
    "--split", default="train", show_default=True, help="train, validation or test, where the source has splits."
)
@click.option("--template", default="plain", show_default=True, help="Prompt template to show problems in.")
@click.option("--fields", metavar="YAML", help="Field map, e.g. '{problem: question, answer: final}'.")
@click.option("--verifier", metavar="NAME", help="What judges the answers of rows that name no verifier.")
@click.option("--drop-conflicts", is_flag=True, help="Leave out problems that come with different answers.")
@click.option("--examples", type=click.IntRange(min=0), default=1, show_default=True, help="Prompts to show.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.jsonl",
    help="Write the problems to a new file, as they were read.",
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Grader processes.")
def problems_command(
    source: str,
    split: str,
    template: str,
    fields: str | None,
    verifier: str | None,
    drop_conflicts: bool,
    examples: int,
    output: Path | None,
    workers: int,
) -> None:
    """Look at a problem set before training on it.

    SOURCE is a file (.jsonl, .json, .csv, .parquet), a folder of datasets.save_to_disk, a name in AEPO_DATA_DIR, a
    Hugging Face dataset id or a procedural family (one of your own as path/to/file.py:family). Reads every row, shows
    prompts as the model will see them, and grades every known answer against itself: an answer that its own verifier
    rejects can never be rewarded. Exits with 1 if there is such an answer.

    \b
    Examples:
      aepo problems
      aepo problems gsm8k.parquet --template boxed --examples 3
      aepo problems my_problems.py:MyFamily
      aepo problems countdown3=2,chain=1 --output mix.jsonl
      AEPO_DATA_DIR=data aepo problems math_train --fields '{answer: solution}'
    """
    from aepo_rllib.envs.grading import Grader
    from aepo_rllib.envs.problems import load_problems
    from aepo_rllib.envs.prompts import get_template
    from aepo_rllib.support.yaml_input import parse_mapping

    with input_errors():
        columns = parse_mapping(fields, "--fields") if fields else None
        problems = load_problems(source, split=split, fields=columns, verifier=verifier, drop_conflicts=drop_conflicts)
        prompt = get_template(template)
        if output is not None:
            _write(output, problems)
        grader = Grader(workers)
    _count(problems)
    for number in range(min(examples, len(problems))):  # from all over the set
        _show(problems[number * len(problems) // min(examples, len(problems))], prompt)
    with grader:
        _report_spelled(problems, grader.only_spelled([problem.answer for problem in problems]))
        grades = grader.grade_batch(problems, [f"\\boxed{{{problem.answer}}}" for problem in problems])
    failing = [(p, g) for p, g in zip(problems, grades, strict=True) if g.verdict.reward == 0]
    click.echo(f"{len(problems) - len(failing)} of {len(problems)} known answers pass their own verifier")
    for problem, grade in failing[:SHOWN_EXCEPTIONS]:
        click.echo(visible(f"  {problem.id}: {grade.verdict.value}: {problem.answer:.80}"))
    if failing:
        raise SystemExit(1)


def _write(output: Path, problems: Sequence[Problem]) -> None:
    """Write them where nothing is yet.

    Raises:
        ValueError: something is there, or the name has another ending than .jsonl.
        OSError: it cannot be written.
    """
    from aepo_rllib.envs.problems import write_problems

    if output.exists():
        raise ValueError(f"{output} is there already; choose another name")
    write_problems(output, problems)
    say(f"written to {visible(output)}")


def _count(problems: Sequence[Problem]) -> None:
    """How many there are, of each family, under each verifier, and in chats."""
    from collections import Counter

    click.echo(f"{len(problems)} problems")
    for family, count in sorted(Counter(problem.family for problem in problems).items()):
        if family:
            click.echo(f"  {visible(family)}: {count}")
    for verifier, count in sorted(Counter(problem.verifier for problem in problems).items()):
        click.echo(f"judged by {visible(verifier)}: {count}")
    if chats := sum(bool(problem.turns) for problem in problems):
        click.echo(f"with turns of a chat before them: {chats}; they need a template with a chat frame")


def _show(problem: Problem, template: PromptTemplate) -> None:
    """A problem as the model will see it, but for the special tokens of the frame."""
    turns = list(problem.turns)
    if template.system:
        turns.insert(0, ("system", template.system))
    text = visible(template.render(problem.text), lines=True)
    known = f"{visible(problem.id)}, answer {visible(repr(problem.answer))}"
    click.echo(f"prompt ({known}{FRAMED[template.frame]}):")
    for role, said in turns:
        click.echo(f"[{role}]\n{visible(said, lines=True)}")
    click.echo(f"[user]\n{text}" if turns else text)


def _report_spelled(problems: Sequence[Problem], spelled: Sequence[bool]) -> None:
    """Which known answers no algebra can read, so that only their spelling counts."""
    count = sum(spelled)
    click.echo(f"{count} of {len(problems)} known answers can be read only as text: their spelling decides")
    for problem in [problem for problem, text in zip(problems, spelled, strict=True) if text][:SHOWN_EXCEPTIONS]:
        click.echo(visible(f"  {problem.id}: {problem.answer:.80}"))
