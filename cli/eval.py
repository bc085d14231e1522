"""`aepo eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aepo_rllib.cli.errors import input_errors
from aepo_rllib.cli.options import ks_option, output_option
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.terminal import visible

SHOWN_PROMPT_CHARS = 400


include_path_option = click.option(
    "--include-path",
    metavar="DIR",
    help="Folder with YAML files of lm-eval tasks and groups of your own, for --suite to name.",
)


@click.command("eval")
@click.argument("model_or_run", default="embedded")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME",
    help="Suite or group of suites, see `aepo tasks`, or the YAML file of an lm-eval task of your own; may be repeated."
    "  [default: aepo_arithmetic]",
)
@click.option(
    "--problems",
    multiple=True,
    metavar="SOURCE",
    help="Problems of your own, as `aepo problems` reads them: a file, a folder, a dataset or a procedural family; may "
    "be repeated.",
)
@click.option("--split", default="test", show_default=True, help="Of --problems, where they have splits.")
@click.option("--fields", metavar="YAML", help="Field map of --problems, e.g. '{problem: question, answer: final}'.")
@click.option("--verifier", metavar="NAME", help="How --problems are judged where a row does not say.")
@include_path_option
@click.option(
    "--n", type=click.IntRange(min=1), default=64, show_default=True, metavar="N", help="Samples per problem."
)
@ks_option(", none above n.  [default: powers of two up to n]")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="T",
    help="Of the samples; 0 is greedy and needs --n 1.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    metavar="P",
    help="Nucleus filter; 1 is off.",
)
@click.option("--template", metavar="NAME", help="Prompt template.  [default: the run's own, else each suite's]")
@click.option(
    "--answer-form",
    metavar="NAME",
    help="How answers are read: box, answer-line, hash, answer-tag, minerva.  [default: as the template asks, or box]",
)
@click.option(
    "--grader", metavar="NAME", help="How answers are judged, e.g. qwen2.5-math.  [default: each suite's way]"
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Longest completion.  [default: the suite's: 2048, embedded ones 64]",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N problems of every suite.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the samples: the same seed gives the same ones.",
)
@output_option("Folder for samples and reports.  [default: RUN/eval, or eval-MODEL here]")
@click.option("--overwrite", is_flag=True, help="Replace the reports of another evaluation in that folder.")
@click.option(
    "--repair",
    is_flag=True,
    help="Cut out of the samples what is damaged, keep it beside them, and draw it again.",
)
@click.option(
    "--engine",
    default="transformers",
    show_default=True,
    metavar="NAME",
    help="Rollout engine: transformers, vllm, or one of your own as module:Class or path/to/file.py:Class.",
)
@click.option(
    "--engine-option",
    "engine_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the engine, e.g. tensor_parallel_size=2; may be repeated.",
)
@click.option("--dtype", default="float32", show_default=True, metavar="NAME", help="Of the weights, e.g. bfloat16.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="Where to sample, e.g. cuda.")
@click.option(
    "--max-rows",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    metavar="N",
    help="Most completions sampled at a time; bounds memory.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="CPU threads; small models are fastest with 1.",
)
def eval_command(model_or_run: str, **options: Any) -> None:
    """Measure pass@k of a model through lm-eval.

    MODEL_OR_RUN is a Hugging Face folder or id, a run folder of `aepo train` (its newest exported model is taken), or
    "embedded", the model that ships with this package.

    pass@k is the chance that at least one of k samples solves a problem; pass@1 is the mean accuracy. Every problem is
    sampled n times, and pass@k estimated from those without bias for every k up to n. It is noisy for k near n: to
    compare models at k, take n = 2k or more. The intervals say how far the score would move with other problems of the
    same kind.

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
    from rich.console import Console

    from aepo_rllib.cli.settings import parse_assignments
    from aepo_rllib.cli.yaml_input import parse_mapping
    from aepo_rllib.envs.grading import get_verifier
    from aepo_rllib.envs.prompts import get_template
    from aepo_rllib.eval.checks import check_sampling
    from aepo_rllib.eval.own import read_problem_sets, split_suites
    from aepo_rllib.eval.target import find_target

    notes = Console(stderr=True, highlight=False, markup=False)
    with input_errors():
        if options["template"]:
            get_template(options["template"])
        target = find_target(model_or_run, options["template"], options["answer_form"])
        split_suites(options["suites"], options["include_path"])
        check_sampling(options["n"], options["ks"], options["temperature"])
        if options["grader"]:
            get_verifier(options["grader"])
        if not options["problems"] and (options["fields"] or options["verifier"]):
            raise ValueError("--fields and --verifier are about --problems; name those, or leave them out")
        options["fields"] = parse_mapping(options["fields"], "--fields") if options["fields"] else None
        given = {name: options[name] for name in ("split", "fields", "verifier")}
        read_problem_sets(options["problems"], **given)  # now, before anything is loaded; what is read is remembered
        output: Path = options.pop("output") or target.output
        notes.print("loading torch and lm-eval ...", style="dim")
        quiet_libraries()
        _set_threads(options.pop("threads"))
        options["engine_options"] = parse_assignments(options["engine_options"], "--engine-option")
        _check_engine_options(options["engine"], options["engine_options"])
        _check_loadable(target.model, options["dtype"], options["device"])
        template = f"prompt template {target.template or 'of each suite'}"
        notes.print(f"{visible(target.model)}, {template}; samples in {visible(output)}", style="dim", soft_wrap=True)
        from aepo_rllib.eval.run import evaluate_model

        kept = f"what was sampled is kept in {output}, and the same command goes on from there"
        try:
            summary = evaluate_model(
                target.model,
                output=output,
                **options | {"template": target.template, "answer_form": target.answer_form},
            )
        except KeyboardInterrupt:
            notes.print(f"stopped; {visible(kept)}", soft_wrap=True)
            raise SystemExit(130) from None
        except OSError as error:
            raise OSError(f"{error}; {kept}") from error
    show(summary, output)


def _check_engine_options(engine: str, options: dict[str, Any]) -> None:
    from aepo_rllib.rollout import check_engine_options  # loads torch

    check_engine_options("--engine-option", engine, options)


def _check_loadable(model: str, dtype: str, device: str) -> None:
    """Refuse what loading the weights would only fail on later.

    Raises:
        ValueError: unknown dtype or device, or no such model.
    """
    import torch

    from aepo_rllib.models.hf import DTYPES, EMBEDDED, ModelError, check_model

    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without that device asserts
        raise ValueError(f"cannot use device {device!r}: {str(error).splitlines()[0]}") from error
    if model == EMBEDDED or Path(model).is_dir():
        check_model(model)
        return
    click.echo(f"no folder {visible(model)} here: looking for it on Hugging Face ...", err=True)
    try:
        check_model(model)
    except ModelError as error:
        raise ValueError(f"there is no folder {model} here, and as a Hugging Face id: {error}") from error


def show(summary: dict[str, Any], output: Path) -> None:
    """Print every suite's and group's table, and where the reports are."""
    from rich.console import Console

    from aepo_rllib.eval.reports.table import group_table, suite_table

    console = Console(highlight=False, markup=False)
    for suite, scores in summary["suites"].items():
        console.print(suite_table(suite, scores))
        first = summary["evaluation"]["first_prompts"].get(suite, "")
        console.print(f"first prompt: {visible(repr(first[:SHOWN_PROMPT_CHARS]))}", style="dim")
    for group, scores in summary["groups"].items():
        console.print(group_table(group, scores, summary["suites"]))
    click.echo(f"reports: {visible(output)}")


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
