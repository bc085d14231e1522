"""GRPO by this package on the common workload; prints one JSON line of per-batch figures.

    python benchmarks/ours_grpo.py --steps 20 --env-runners 2

What is held equal with `peers/trl_grpo.py`, and what is not, stands there. One difference is a matter of
design: rows whose group earned equal rewards have advantage 0 and skip our forward pass, while TRL runs all rows.
`--all-rows` trains them too, so that both sides push the same number of rows through the model.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from workload import PROBLEMS, Workload, appended, report, run_arguments

from aepo_rllib.algorithms.grpo import GRPOConfig
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.ray_cluster import ray_cluster
from aepo_rllib.cli.train import stopped

FRACTION = 0.5
"""CPUs that Ray reserves for an actor; layouts with more processes than cores start too."""


class Stopwatch:
    """Adds up the seconds spent in a function."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = self.function(*args, **kwargs)
        self.seconds += time.perf_counter() - started
        return result

    def take(self) -> float:
        """The seconds since the last call of this method."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def config(work: Workload, arguments: Any) -> GRPOConfig:
    return (
        GRPOConfig()
        .language_model(model_path=work.model, share_prompts=not arguments.padded)
        .problems(problems=PROBLEMS)
        .sampling(max_new_tokens=work.max_new_tokens, torch_threads=arguments.threads)
        .training(
            batch_size=work.prompts,
            group_size=work.group_size,
            updates_per_batch=work.updates,
            lr=work.lr,
            grad_clip=work.grad_clip,
            clip_low=work.clip,
            clip_high=work.clip,
            skip_flat_rows=not arguments.all_rows,
            async_steps=arguments.async_steps,
        )
        .env_runners(num_env_runners=arguments.env_runners, num_cpus_per_env_runner=FRACTION)
        .learners(num_learners=arguments.learners, num_cpus_per_learner=FRACTION)
        .evaluation(evaluation_interval=None)
        .debugging(seed=work.seed)
    )


def figures(
    result: dict[str, Any], step: float, tensor_work: float | None, work: Workload, *, beside: bool = False
) -> dict[str, float]:
    """One batch's row: the whole step and its parts, in seconds.

    `generation + grading + learning + rest = step`. `learning` is the learner's forward, backward and optimizer; a
    remote learner's cannot be seen from here and counts with RLlib's way there and back. `rest` is RLlib, Ray and our
    own Python, weight sync included. `*_section` and `between` cut the same step at the algorithm's own timers.
    With `async_steps` learning, of the batch before, lies beside the others: `rest` is what the longer side leaves.
    """
    throughput = result["throughput"]
    sections = {name: throughput.get(f"{name}_seconds", 0.0) for name in ("sampling", "learning", "sync")}
    row = {
        "step": step,
        "tokens_per_completion": result["main"]["completion_tokens"],
        "reward": result["main"]["reward_mean"],
        "completions": work.completions,
        "trained_rows": result.get("update", {}).get("trained_rows", 0),
        "generation": throughput["generation_seconds"],
        "grading": throughput["grading_seconds"],
        "learning": sections["learning"] if tensor_work is None else tensor_work,
        "between": step - sum(sections.values()),
    }
    sampled = row["generation"] + row["grading"]
    row["rest"] = step - (max(sampled, row["learning"]) if beside else sampled + row["learning"])
    return row | {f"{name}_section": seconds for name, seconds in sections.items()}


def main() -> None:
    parser = run_arguments(__doc__)
    parser.add_argument("--env-runners", type=int, default=0)
    parser.add_argument("--learners", type=int, default=0)
    parser.add_argument("--async-steps", type=int, default=0, help="1: learn beside the sampling of the next batch")
    parser.add_argument("--all-rows", action="store_true", help="also run rows with advantage 0")
    parser.add_argument("--padded", action="store_true", help="learn on padded rows instead of shared prompts")
    arguments = parser.parse_args()
    quiet_libraries()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # Ray's actors inherit it
    torch.set_num_threads(arguments.threads)
    work, table = Workload.of(arguments), {}
    with ray_cluster(), stopped(config(work, arguments)) as algo:
        learner = None if arguments.learners else algo.learner_group._learner
        if learner is not None:
            learner._update = Stopwatch(learner._update)
        for _ in range(arguments.warmup + arguments.steps):
            started = time.perf_counter()
            result = algo.train()
            step = time.perf_counter() - started
            tensor_work = learner._update.take() if learner is not None else None
            appended(table, figures(result, step, tensor_work, work, beside=bool(arguments.async_steps)))
    report(table, warmup=arguments.warmup)


if __name__ == "__main__":
    main()
