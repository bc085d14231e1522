"""What lm-eval does with a model, be it one that samples or one that replays samples, and the summary of that."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from lm_eval import evaluator
from lm_eval.api.model import LM

from aepo_rllib.envs.grading import RULES_VERSION
from aepo_rllib.eval.data import docs_digest
from aepo_rllib.eval.reports.summary import summarize
from aepo_rllib.eval.spec import EvaluationSpec


def run_harness(lm: LM, spec: EvaluationSpec, tasks: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let lm-eval ask the model, and grade what it says.

    Args:
        lm: The model.
        spec: Of the evaluation.
        tasks: Its suites, see `aepo_rllib.eval.suites.loading.load_tasks`.

    Returns:
        lm-eval's results with all samples, and the content of passk.json.
    """
    started = time.time()
    results = evaluator.evaluate(lm=lm, task_dict=tasks, limit=spec.limit, log_samples=True)
    results |= {
        "config": {
            "model": spec.identity.get("engine"),
            "model_args": {"pretrained": spec.model, "seed": spec.seed, "template": spec.template},
            "gen_kwargs": spec.generation(),
            "limit": spec.limit,
        },
        "date": started,
        "total_evaluation_time_seconds": str(time.time() - started),
        **{f"{package}_version": version(package) for package in ("lm_eval", "transformers")},
    }
    summary = summarize(results, spec.ks, seed=spec.seed)
    for name, task in tasks["tasks"].items():
        summary["suites"][name]["judged_by"] = sorted({doc["verifier"] for doc in task.test_docs()})
    return results, {"evaluation": spec.as_json(), "grading_rules": RULES_VERSION, **summary}


def digests(tasks: dict[str, Any]) -> dict[str, str]:
    """By suite: what its problems, their known answers and their ways to judge are; graders may change."""
    return {name: docs_digest(task.test_docs()) for name, task in tasks["tasks"].items()}
