"""`evaluate` and `evaluate_model`: the way from a model to samples, scores and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aepo_rllib.eval.data import turns_of
from aepo_rllib.eval.harness import digests, run_harness
from aepo_rllib.eval.plan import EvaluationPlan
from aepo_rllib.eval.preflight import questions_of
from aepo_rllib.eval.reports.report_files import remove_reports, write_reports
from aepo_rllib.eval.sampling.models import SamplingLM
from aepo_rllib.eval.sampling.requests import Asked
from aepo_rllib.eval.settings import arguments_text, settings_of
from aepo_rllib.eval.spec import SAMPLES_FOLDER, EvaluationSpec
from aepo_rllib.eval.suites.loading import load_tasks
from aepo_rllib.eval.suites.own import Own, find_sources
from aepo_rllib.eval.suites.problem_copies import remove_problem_sets, write_problem_set
from aepo_rllib.support.locks import claimed


def evaluate(
    plan: EvaluationPlan, *, tell: Callable[[str], object] | None = None, progress: bool = True
) -> dict[str, Any]:
    """Sample n completions for every problem of some suites, grade them, and report pass@k.

    With an output folder the samples are stored there. Called again, it draws only those that are missing: after a
    kill, or for a larger n. What `plan.repair` cuts out of damaged samples stays beside them, and is logged.

    Args:
        plan: What is asked for.
        tell: Called with a sentence on how much there is to sample, before it begins.
        progress: Whether a bar, or lines, tell how far it has come.

    Returns:
        The content of passk.json: "evaluation" (model and settings), "grading_rules" (the version of what counts as
        equal, docs/grading.md), "suites" and "groups", see `aepo_rllib.eval.reports.summary.summarize`.

    Raises:
        aepo_rllib.models.hf.ModelError: the model cannot be read.
        aepo_rllib.envs.ProblemError: a suite's problems cannot be read.
        aepo_rllib.eval.sampling.sample_files.StoreError: the stored samples are damaged.
        ValueError: unknown suite, grader, engine or engine option, a problem too long for the model, or an output
            folder with another evaluation in it.
        OSError: a file cannot be written. What was sampled before stays.
        RuntimeError: a vLLM engine in a process that has one.
    """
    suites, own = find_sources(plan)
    spec = EvaluationSpec.of(plan, suites, tuple(own.problems), tuple(own.tasks))
    tasks = load_tasks(spec, own)
    with ExitStack() as stack:
        folder = Path(plan.output or stack.enter_context(TemporaryDirectory(prefix="aepo-eval-")))
        lm = _model(plan, folder / SAMPLES_FOLDER)
        stack.callback(lm.engine.close)
        lm.shows_progress = progress
        questions = questions_of(tasks, plan)
        lm.check(questions)
        spec = replace(spec, identity=lm.identity(), first_prompts=_first_prompts(lm, tasks), problems=digests(tasks))
        spec.check(folder, overwrite=plan.overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(claimed(folder))
        spec.check(folder, overwrite=plan.overwrite)  # again: another process may have been faster
        _begin(folder, spec, own, overwrite=plan.overwrite)
        if tell is not None:
            tell(_estimate(questions, plan.n))
        results, summary = run_harness(lm, spec, tasks)
        if plan.output is not None:
            write_reports(folder, results, summary)
    return summary


def evaluate_model(
    model: str = "embedded",
    *,
    suites: Sequence[str] | None = (),
    problems: Sequence[str] = (),
    split: str = "test",
    fields: Mapping[str, str] | None = None,
    verifier: str | None = None,
    include_path: str | Path | None = None,
    n: int = 64,
    ks: Sequence[int] | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    template: str | None = None,
    answer_form: str | None = None,
    grader: str | None = None,
    engine: str = "transformers",
    engine_options: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    max_rows: int = 1024,
    output: str | Path | None = None,
    overwrite: bool = False,
    repair: bool = False,
) -> dict[str, Any]:
    """Evaluate a model: `evaluate` with the settings of an `EvaluationPlan` as keywords, what it returns and raises."""
    return evaluate(EvaluationPlan(**locals()))


_SETTINGS = settings_of(EvaluationPlan)
_ARGUMENTS = arguments_text({"model": _SETTINGS["model"]} | _SETTINGS)
evaluate_model.__doc__ = f"{evaluate_model.__doc__}\n\n{_ARGUMENTS}"


def _model(plan: EvaluationPlan, store: Path) -> SamplingLM:
    return SamplingLM(
        plan.model,
        seed=plan.seed,
        template=plan.template or "plain",
        store=str(store),
        by_reference=True,
        engine=plan.engine,
        dtype=plan.dtype,
        device=plan.device,
        max_rows=plan.max_rows,
        repair=plan.repair,
        engine_options=plan.engine_options,
    )


def _begin(folder: Path, spec: EvaluationSpec, own: Own, *, overwrite: bool) -> None:
    """Write down what is evaluated."""
    if overwrite:
        remove_reports(folder)
        remove_problem_sets(folder)
    spec.write(folder)
    for name, problem_set in own.problems.items():
        write_problem_set(folder, name, problem_set)


def _estimate(questions: Sequence[Asked], n: int) -> str:
    """How much there is to sample at most: what is stored already is not looked at."""
    longest = max((question.decoding.max_new_tokens for question in questions), default=0)
    tokens = n * sum(question.decoding.max_new_tokens for question in questions)
    prompts, samples = len(questions), n * len(questions)
    return f"{prompts:,} prompts x {n:,} = {samples:,} samples of at most {longest:,} new tokens, {tokens:,} in all"


def _first_prompts(lm: SamplingLM, tasks: dict[str, Any]) -> dict[str, str]:
    """By suite: what the model reads first."""
    first = {name: next(iter(task.test_docs())) for name, task in tasks["tasks"].items()}
    return {name: lm.render(tasks["tasks"][name].doc_to_text(doc), turns_of(doc)) for name, doc in first.items()}
