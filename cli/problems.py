"""`aepo problems`."""

from __future__ import annotations

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.terminal import visible

SHOWN_EXCEPTIONS = 10


@click.command("problems")
@click.argument("source", default="arithmetic")
@click.option(
    "--split", default="train", show_default=True, help="train, validation or test, where the source has splits."
)
@click.option("--template", default="plain", show_default=True, help="Prompt template to show the first problem in.")
@click.option("--fields", metavar="YAML", help="Field map, e.g. '{problem: question, answer: final}'.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Grader processes.")
def problems_command(source: str, split: str, template: str, fields: str | None, workers: int) -> None:
    """Look at a problem set before training on it.

    Reads every row, shows the first prompt, and grades every known answer against itself: an answer that its own
    verifier rejects can never be rewarded. Exits with 1 if there is such an answer.

    \b
    Examples:
      aepo problems
      aepo problems gsm8k.jsonl --template boxed
      AEPO_DATA_DIR=data aepo problems math_train --fields '{answer: solution}'
    """
    from collections import Counter

    from aepo_rllib.cli.yaml_input import parse_mapping
    from aepo_rllib.envs.grading import Grader
    from aepo_rllib.envs.problems import load_problems
    from aepo_rllib.envs.prompts import get_template

    with input_errors():
        columns = parse_mapping(fields, "--fields") if fields else None
        problems = load_problems(source, split=split, fields=columns)
        shown = get_template(template).render(problems[0].text)
        grader = Grader(workers)
    click.echo(f"{len(problems)} problems")
    for family, count in sorted(Counter(problem.family for problem in problems).items()):
        if family:
            click.echo(f"  {visible(family)}: {count}")
    click.echo(f"first prompt ({visible(problems[0].id)}, answer {visible(repr(problems[0].answer))}):")
    click.echo(visible(shown, lines=True))
    with grader:
        grades = grader.grade_batch(problems, [f"\\boxed{{{problem.answer}}}" for problem in problems])
    failing = [(p, g) for p, g in zip(problems, grades, strict=True) if g.verdict.reward == 0]
    click.echo(f"{len(problems) - len(failing)} of {len(problems)} known answers pass their own verifier")
    for problem, grade in failing[:SHOWN_EXCEPTIONS]:
        click.echo(visible(f"  {problem.id}: {grade.verdict.value}: {problem.answer:.80}"))
    if failing:
        raise SystemExit(1)
