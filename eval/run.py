"""`evaluate_model` and `regrade`: the way from a model, or from its stored samples, to scores and reports."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate

from aepo_rllib.envs.grading import RULES_VERSION
from aepo_rllib.eval.checks import check_sampling, default_suites
from aepo_rllib.eval.data import docs_digest, turns_of
from aepo_rllib.eval.loading import load_tasks
from aepo_rllib.eval.own import Own, read_problem_sets, split_suites
from aepo_rllib.eval.plan import PLAN, SAMPLES_FOLDER, Plan
from aepo_rllib.eval.plan_fields import check_trusted
from aepo_rllib.eval.problem_sets import read_problem_set, remove_problem_sets, write_problem_set
from aepo_rllib.eval.reports.files import remove_reports, write_reports
from aepo_rllib.eval.reports.summary import summarize
from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.models import SamplingLM
from aepo_rllib.eval.sampling.requests import Asked
from aepo_rllib.eval.sampling.stored import StoredLM
from aepo_rllib.support.locks import claimed


def evaluate_model(
    model: str = "embedded",
    *,
    suites: Sequence[str] | None = None,
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
    grader: str | None = None,
    answer_form: str | None = None,
    engine: str = "transformers",
    engine_options: Mapping[str, Any] | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    max_rows: int = 1024,
    output: str | Path | None = None,
    overwrite: bool = False,
    repair: bool = False,
) -> dict[str, Any]:
    """Sample n completions for every problem of some suites, grade them, and report pass@k.

    With an output folder the samples are stored there. Called again, it draws only those that are missing: after a
    kill, or for a larger n.

    Args:
        model: Hugging Face folder or id, or "embedded".
        suites: Names of suites and groups, see `aepo_rllib.eval.suites.suite_names`, or YAML files of lm-eval tasks
            that include `_passk_yaml`; default the embedded one where no problems are given.
        problems: Problem sets of one's own: whatever `aepo_rllib.envs.load_problems` takes.
        split: Where those have splits.
        fields: Which column of those holds what.
        verifier: How those are judged where a row does not say.
        include_path: Folder with YAML files of more suites and groups.
        n: Samples per problem.
        ks: Values of k; default the powers of two up to n.
        temperature: Of the samples; 0 is greedy decoding and needs n = 1.
        top_p: Nucleus filter; 1 is off.
        max_new_tokens: Longest completion; default the suite's own.
        limit: Only the first problems of every suite.
        seed: Of samples and bootstrap.
        template: Name of a prompt template, see `aepo_rllib.envs.prompts`; default the suite's own.
        grader: Name of a verifier, see `aepo_rllib.envs.grading`; default the suite's own.
        engine: Name of a rollout engine.
        engine_options: Its own options, such as vLLM's `max_model_len` and `tensor_parallel_size`.
        dtype: Of the weights.
        device: Where to sample.
        max_rows: Most completions sampled at a time; bounds memory.
        output: Folder for samples and report files; default none are kept.
        overwrite: Replace the reports of another evaluation in that folder. Samples are never removed.
        repair: Cut out of the stored samples what is damaged, and draw it again, instead of refusing it. What is cut
            out stays beside them, and is logged.

    Returns:
        The content of passk.json: "evaluation" (model and settings), "grading_rules" (the version of what counts as
        equal, docs/grading.md), "suites" and "groups", see
        `aepo_rllib.eval.reports.summary.summarize`.

    Raises:
        aepo_rllib.models.hf.ModelError: the model cannot be read.
        aepo_rllib.envs.ProblemError: a suite's problems cannot be read.
        aepo_rllib.eval.sampling.store.StoreError: the stored samples are damaged.
        ValueError: unknown suite, template, grader, engine or engine option, another setting out of its range, k above
            n, a problem too long for the model, or an output folder with another evaluation in it.
        OSError: a file cannot be written. What was sampled before stays.
        RuntimeError: a vLLM engine in a process that has one.
    """
    check_sampling(n, ks, temperature)
    package, own_tasks = split_suites(default_suites(suites, problems), include_path)
    own = Own(read_problem_sets(problems, split=split, fields=fields, verifier=verifier), own_tasks)
    plan = Plan(
        model=model,
        suites=package,
        own_problems=tuple(own.problems),
        own_suites=tuple(own.tasks),
        n=n,
        ks=tuple(sorted(set(ks))) if ks else None,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        limit=limit,
        seed=seed,
        template=template,
        grader=grader,
        answer_form=answer_form,
    )
    tasks = load_tasks(plan, own)
    with ExitStack() as stack:
        folder = Path(output or stack.enter_context(TemporaryDirectory(prefix="aepo-eval-")))
        lm = SamplingLM(
            model,
            seed=seed,
            template=template or "plain",
            store=str(folder / SAMPLES_FOLDER),
            by_reference=True,
            engine=engine,
            dtype=dtype,
            device=device,
            max_rows=max_rows,
            repair=repair,
            engine_options=engine_options,
        )
        stack.callback(lm.engine.close)
        lm.check(_questions(tasks, plan))
        plan = replace(plan, identity=lm.identity(), first_prompts=_first_prompts(lm, tasks), problems=_digests(tasks))
        plan.check(folder, overwrite=overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(claimed(folder))
        plan.check(folder, overwrite=overwrite)  # again: another process may have been faster
        if overwrite:
            remove_reports(folder)
            remove_problem_sets(folder)
        plan.write(folder)
        for name, problem_set in own.problems.items():
            write_problem_set(folder, name, problem_set)
        results, summary = _run(lm, plan, tasks)
        if output is not None:
            write_reports(folder, results, summary)
    return summary


def regrade(
    folder: str | Path,
    *,
    grader: str | None = None,
    answer_form: str | None = None,
    n: int | None = None,
    ks: Sequence[int] | None = None,
    suites: Sequence[str] = (),
    include_path: str | Path | None = None,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Grade the stored samples of an evaluation again, and write its reports anew. Nothing is sampled.

    The problems are read again, from where the suite has them, problem sets of the user's own from the folder; the
    model is not needed. The old reports stay until the new ones are complete.

    Args:
        folder: Output folder of `evaluate_model`, whoever made it: nothing in it is trusted. An interrupted one will
            do: a problem with fewer than k samples leaves pass@k undefined.
        grader: Name of a verifier; default the one it was graded with last.
        n: Samples per problem to look at; default as many as were asked for.
        ks: Values of k; default the powers of two up to n.
        suites: YAML files of the user's own tasks that the evaluation has; that folder alone gets no file loaded.
        include_path: Folder with such files.
        output: Folder for the reports; default they replace those in `folder`.

    Returns:
        As `evaluate_model`.

    Raises:
        aepo_rllib.eval.sampling.store.StoreError: the stored samples are damaged, or there are none of some suite.
        ValueError: no evaluation in that folder, or an impossible one, an unknown grader, k above n, problems that have
            changed since, a task or a function of the user's own that only that folder names, a folder that another
            process writes into, or another evaluation in the output folder.
        OSError: a file cannot be read or written.
    """
    folder = Path(folder)
    plan = Plan.read(folder)
    if plan.grader and not grader:
        check_trusted(plan.grader, grader, f"{folder / PLAN}: grader")
    plan = plan.regraded(grader, n, ks)
    named = plan.own_suites if include_path is not None else ()  # names, not paths: the plan is checked for that
    problem_sets = {name: read_problem_set(folder, name, grader) for name in plan.own_problems}
    tasks = load_tasks(plan, Own(problem_sets, split_suites((*suites, *named), include_path)[1]))
    if changed := [suite for suite, digest in _digests(tasks).items() if plan.problems.get(suite) != digest]:
        raise ValueError(f"the problems of {', '.join(changed)} have changed since they were sampled")
    lm = StoredLM(folder / SAMPLES_FOLDER, plan.identity)
    target = folder if output is None else Path(output)
    here = target.exists() and target.samefile(folder)
    if not here and (target / PLAN).exists():
        raise ValueError(f"{target} holds an evaluation of its own; choose another --output")
    with ExitStack() as stack:
        if here:
            stack.enter_context(claimed(folder))
        results, summary = _run(lm, plan, tasks)
        if not here:
            target.mkdir(parents=True, exist_ok=True)
            stack.enter_context(claimed(target))
        write_reports(target, results, summary)
        if here:
            plan.write(folder)
    return summary


def _run(lm: LM, plan: Plan, tasks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """lm-eval's results with all samples, and their summary."""
    started = time.time()
    results = evaluate(lm=lm, task_dict=tasks, limit=plan.limit, log_samples=True)
    results |= {
        "config": {
            "model": plan.identity.get("engine"),
            "model_args": {"pretrained": plan.model, "seed": plan.seed, "template": plan.template},
            "gen_kwargs": plan.generation(),
            "limit": plan.limit,
        },
        "date": started,
        "total_evaluation_time_seconds": str(time.time() - started),
        **{f"{package}_version": version(package) for package in ("lm_eval", "transformers")},
    }
    summary = summarize(results, plan.ks, seed=plan.seed)
    for name, task in tasks["tasks"].items():
        summary["suites"][name]["judged_by"] = sorted({doc["verifier"] for doc in task.test_docs()})
    return results, {"evaluation": plan.as_json(), "grading_rules": RULES_VERSION, **summary}


def _questions(tasks: dict[str, Any], plan: Plan) -> list[Asked]:
    """One sample of every problem, for a look at their lengths."""
    asked = []
    for name, task in tasks["tasks"].items():
        decoding = Decoding.from_kwargs(task.config.generation_kwargs)
        docs = islice(task.test_docs(), plan.limit)
        asked += [Asked(name, task.doc_to_text(doc), decoding, (), turns_of(doc)) for doc in docs]
    return asked


def _digests(tasks: dict[str, Any]) -> dict[str, str]:
    """By suite: what its problems, their known answers and their ways to judge are; graders may change."""
    return {name: docs_digest(task.test_docs()) for name, task in tasks["tasks"].items()}


def _first_prompts(lm: SamplingLM, tasks: dict[str, Any]) -> dict[str, str]:
    """By suite: what the model reads first."""
    first = {name: next(iter(task.test_docs())) for name, task in tasks["tasks"].items()}
    return {name: lm.render(tasks["tasks"][name].doc_to_text(doc), turns_of(doc)) for name, doc in first.items()}
