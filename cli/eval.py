"""`aepo eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from aepo_rllib.cli.early import tell_of_hub
from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.options import output_option
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.saying import QUIET, loudness, say, warn
from aepo_rllib.cli.setting_options import setting_options
from aepo_rllib.cli.table_options import by_option, format_option, print_sheets
from aepo_rllib.eval.plan import EvaluationPlan
from aepo_rllib.support.terminal import visible


@click.command("eval")
@click.argument("model_or_run", default="embedded")
@setting_options("model", "output")
@output_option("Folder for samples and reports.  [default: RUN/eval, or eval-MODEL here]")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="CPU threads; small models are fastest with 1.",
)
@by_option("What the columns of the table are.  [default: families, where there are some]")
@format_option
def eval_command(model_or_run: str, threads: int, form: str, by: str | None, **options: Any) -> None:
    """Measure pass@k of a model through lm-eval.

    MODEL_OR_RUN is a Hugging Face folder or id, a run folder of `aepo train` (its newest exported model is taken), or
    "embedded", the model that ships with this package.

    pass@k is the chance that at least one of k samples solves a problem; pass@1 is the mean accuracy. Every problem is
    sampled n times, and pass@k estimated from those without bias for every k up to n. It is noisy for k near n: to
    compare models at k, take n = 2k or more. The intervals say how far the score would move with other problems of the
    same kind and other samples of them. A second table says how many different answers, and ways to correct ones,
    k samples hold.

    Samples are stored as they are drawn, with checksums: the same command goes on after a kill, a larger --n draws only
    what is missing, damage is named, and --repair cuts it out. `aepo regrade` judges them again, `aepo compare` sets
    evaluations side by side. The folder also gets passk.json (scores), passk.png and .svg (curves), samples.html (a
    page to look at samples), problems.jsonl (answers per problem) and results.json (lm-eval's own).

    Problems of your own are a suite like any other; a copy of them is kept beside the samples. docs/suites.md shows how
    they become a task of lm-eval.

    The maths suites are read from `.jsonl` files in the folder AEPO_DATA_DIR, or from Hugging Face.

    \b
    Examples:
      aepo eval                                    the embedded model, 96 problems x 64 samples
      aepo eval runs/aepo --n 256                  a training run
      aepo eval embedded --temperature 0 --n 1     greedy accuracy
      aepo eval runs/aepo --problems mine.jsonl    problems of your own
      aepo eval Qwen/Qwen2.5-Math-1.5B --suite aepo_math --template qwen-boxed --n 32 --device cuda --dtype bfloat16
    """
    with input_errors():
        plan = _plan(model_or_run, options)
        say("loading torch and lm-eval ...")
        quiet_libraries()
        _set_threads(threads)
        _check_engine_options(plan.engine, plan.engine_options or {})
        _check_loadable(plan.model, plan.dtype, plan.device)
        template = f"prompt template {plan.template or 'of each suite'}"
        say(f"{visible(plan.model)}, {template}; samples in {visible(plan.output)}")
        warnings = _warnings(plan) if options["template"] or not plan.template else []
        for warning in warnings:
            warn(f"warning: {visible(warning)}")
        summary = _evaluate(plan)
        show(summary, plan.output, form, by or "family", warnings)


def _plan(model_or_run: str, options: dict[str, Any]) -> EvaluationPlan:
    """What is asked for. All is refused that can be before torch is loaded."""
    from aepo_rllib.cli.settings import parse_assignments
    from aepo_rllib.envs.grading import get_verifier
    from aepo_rllib.eval.suites.own import find_sources
    from aepo_rllib.eval.target import find_target
    from aepo_rllib.support.yaml_input import parse_mapping

    target = find_target(model_or_run, options["template"], options["answer_form"])
    read = {
        "model": target.model,
        "template": target.template,
        "answer_form": target.answer_form,
        "output": options["output"] or target.output,
        "fields": parse_mapping(options["fields"], "--fields") if options["fields"] else None,
        "engine_options": parse_assignments(options["engine_options"], "--engine-option"),
    }
    plan = EvaluationPlan(**options | read)
    if plan.grader:
        get_verifier(plan.grader)
    find_sources(plan)  # what is read is remembered
    return plan


def _warnings(plan: EvaluationPlan) -> list[str]:
    """What can be said before a sample is drawn; a template that the model was trained with is no one's oversight."""
    from aepo_rllib.eval.reports.advice import unused_chat_template
    from aepo_rllib.models.hf import load_tokenizer

    warning = unused_chat_template(plan.template, load_tokenizer(plan.model).chat_template)
    return [] if warning is None else [warning]


def _evaluate(plan: EvaluationPlan) -> dict[str, Any]:
    """The scores; an interruption says what is kept."""
    from aepo_rllib.eval.run import evaluate

    kept = f"what was sampled is kept in {plan.output}, and the same command goes on from there"
    try:
        return evaluate(plan, tell=say, progress=loudness() != QUIET)
    except KeyboardInterrupt:
        warn(f"stopped; {visible(kept)}")
        raise SystemExit(130) from None
    except OSError as error:
        raise OSError(f"{error}; {kept}") from error


def _check_engine_options(engine: str, options: Mapping[str, Any]) -> None:
    from aepo_rllib.rollout import check_engine_options, check_installed  # loads torch

    check_engine_options("--engine-option", engine, options)
    check_installed(engine)


def _check_loadable(model: str, dtype: str, device: str) -> None:
    """Refuse what loading the weights would only fail on later.

    Raises:
        ValueError: unknown dtype or device, or no such model.
    """
    import torch

    from aepo_rllib.models.hf import DTYPES, ModelError, check_model
    from aepo_rllib.models.named_folder import is_here

    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without that device asserts
        raise ValueError(f"cannot use device {device!r}: {str(error).splitlines()[0]}") from error
    tell_of_hub(model)
    try:
        check_model(model)
    except ModelError as error:
        if is_here(model):
            raise
        raise ValueError(f"there is no folder {model} here, and as a Hugging Face id: {error}") from error


def show(
    summary: dict[str, Any],
    output: object,
    form: str = "table",
    by: str = "family",
    warnings: Sequence[str] = (),
) -> None:
    """Print every suite's and group's table; on standard error first prompts, warnings, and where the reports are.

    Args:
        summary: The content of passk.json.
        output: The folder of the reports.
        form: Of the tables, see `--format`.
        by: What parts the tables have.
        warnings: Those of before; what the scores say comes with them.
    """
    from aepo_rllib.eval.reports.advice import advice
    from aepo_rllib.eval.reports.diversity_report import diversity_sheet
    from aepo_rllib.eval.reports.prompt_excerpt import prompt_excerpt
    from aepo_rllib.eval.reports.table import group_sheet, suite_sheet

    suites, groups = summary["suites"], summary["groups"]
    sheets = [
        sheet
        for suite, scores in suites.items()
        for sheet in (suite_sheet(suite, scores, by), diversity_sheet(suite, scores))
    ]
    print_sheets([*sheets, *(group_sheet(group, scores, suites) for group, scores in groups.items())], form)
    for suite, prompt in summary["evaluation"]["first_prompts"].items():
        say(f"first prompt of {visible(suite)}: {prompt_excerpt(prompt, f'{output}/passk.json')}")
    for warning in (*warnings, *advice(summary)):
        warn(f"warning: {visible(warning)}")
    say(f"reports: {visible(output)}", style="")


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
