"""`evaluate_model`: the way from a model to its scores, as `aepo eval` takes it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from aepo_rllib.eval.checks import check_sampling, check_suites
from aepo_rllib.eval.models import SamplingLM
from aepo_rllib.eval.outcomes import summarize
from aepo_rllib.eval.report import write_reports
from aepo_rllib.eval.suites import TASKS_FOLDER


def evaluate_model(
    model: str = "embedded",
    *,
    suites: Sequence[str] = ("aepo_arithmetic",),
    n: int = 64,
    ks: Sequence[int] | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    template: str = "plain",
    engine: str = "transformers",
    dtype: str = "float32",
    device: str = "cpu",
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Sample n completions for every problem of some suites, grade them, and report pass@k.

    Args:
        model: Hugging Face folder or id, or "embedded".
        suites: Names, see `aepo_rllib.eval.suites.suite_names`.
        n: Samples per problem.
        ks: Values of k; default the powers of two up to n.
        temperature: Of the samples; 0 is greedy decoding and needs n = 1.
        top_p: Nucleus filter; 1 is off.
        max_new_tokens: Longest completion; default the suite's own.
        limit: Only the first problems of every suite.
        seed: Of samples and bootstrap.
        template: Name of a prompt template, see `aepo_rllib.envs.prompts`.
        engine: Name of a rollout engine.
        dtype: Of the weights.
        device: Where to sample.
        output: Folder for the report files; default none are written.

    Returns:
        The content of passk.json, see `aepo_rllib.eval.outcomes.summarize`.

    Raises:
        aepo_rllib.hf.ModelError: the model cannot be read.
        ValueError: unknown suite or engine, k above n, or a problem too long for the model.
    """
    check_suites(suites)
    check_sampling(n, ks, temperature)
    generation = {"do_sample": temperature > 0, "temperature": temperature, "top_p": top_p}
    if max_new_tokens is not None:
        generation["max_gen_toks"] = max_new_tokens
    model_args: dict[str, Any] = {
        "pretrained": model,
        "seed": seed,
        "template": template,
        "engine": engine,
        "dtype": dtype,
        "device": device,
    }
    started = time.time()
    tasks = _load_tasks(suites, n, ks, generation)
    results = evaluate(lm=SamplingLM(**model_args), task_dict=tasks, limit=limit, log_samples=True)
    results |= {
        "config": {"model": "aepo-hf", "model_args": model_args, "gen_kwargs": generation, "limit": limit},
        "date": started,
        "total_evaluation_time_seconds": str(time.time() - started),
        **{f"{package}_version": version(package) for package in ("lm_eval", "transformers")},
    }
    summary = summarize(results, ks, seed=seed)
    if output is not None:
        write_reports(Path(output), results, summary)
    return summary


def _load_tasks(suites: Sequence[str], n: int, ks: Sequence[int] | None, generation: dict[str, Any]) -> dict[str, Any]:
    """The suites as lm-eval tasks, with this run's sampling. (`simple_evaluate` would do it, and shell out to git.)"""
    metadata = {"repeats": n, **({"k": list(ks)} if ks else {})}
    # Without lm-eval's own tasks: looking through all of their files takes ten seconds.
    loaded = TaskManager(include_path=str(TASKS_FOLDER), include_defaults=False, metadata=metadata).load(list(suites))
    for task in loaded["tasks"].values():
        task.set_config("generation_kwargs", generation, update=True)
    return loaded
