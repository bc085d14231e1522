"""The work that both sides of a comparison do. Imports neither ray nor trl, so both environments can read it."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aepo_rllib.envs.problems import Problem, load_problems
from aepo_rllib.experience.problem_order import problems_of_step

MODEL = "embedded"
PROBLEMS = "arithmetic"


@dataclass(frozen=True)
class Workload:
    """One GRPO batch: model, sizes, optimizer and clipping, the same on both sides."""

    model: str = MODEL
    prompts: int = 16
    group_size: int = 8
    max_new_tokens: int = 64
    updates: int = 2
    lr: float = 6e-4
    clip: float = 0.2
    grad_clip: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Workload:
        """As the options of `run_arguments` say."""
        return cls(arguments.model, arguments.prompts, arguments.group_size, arguments.max_new_tokens)

    @property
    def completions(self) -> int:
        """Completions of one batch."""
        return self.prompts * self.group_size

    def problems(self, batches: int) -> list[Problem]:
        """The problems of the first batches, in the order in which our algorithm takes them."""
        pool = load_problems(PROBLEMS)
        return [
            pool[index]
            for batch in range(batches)
            for index in problems_of_step(batch, batch_size=self.prompts, problem_count=len(pool), seed=self.seed)
        ]


def run_arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that both sides share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="batches that are timed")
    parser.add_argument("--warmup", type=int, default=3, help="batches before them")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of a process")
    parser.add_argument("--model", default=Workload.model)
    parser.add_argument("--prompts", type=int, default=Workload.prompts)
    parser.add_argument("--group-size", type=int, default=Workload.group_size)
    parser.add_argument("--max-new-tokens", type=int, default=Workload.max_new_tokens)
    return parser


def report(figures: dict[str, list[float]], *, warmup: int) -> None:
    """Print one JSON line of per-batch figures, the warm-up batches left out."""
    print(json.dumps({name: values[warmup:] for name, values in figures.items()}))


def durations(stamps: list[float]) -> list[float]:
    """Seconds between neighbouring time stamps."""
    return [end - start for start, end in pairwise(stamps)]


def appended(figures: dict[str, list[float]], row: dict[str, Any]) -> None:
    """Append one batch's figures, each to the list of its name."""
    for name, value in row.items():
        figures.setdefault(name, []).append(float(value))
