"""Problems as a file that `load_problems` reads back: with their verifiers, and what these need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.problem import Problem


def write_problems(path: Path | str, problems: Iterable[Problem]) -> None:
    """Write problems to a `.jsonl` file, one a line.

    Raises:
        ValueError: the file's name has another ending, or something in `extra` is no JSON.
        OSError: it cannot be written.
    """
    if Path(path).suffix != ".jsonl":
        raise ValueError(f"{path}: problems are written to a file whose name ends in .jsonl")
    lines = [json.dumps(_row(problem), ensure_ascii=False, allow_nan=False) for problem in problems]
    Path(path).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _row(problem: Problem) -> dict[str, Any]:
    asked = {"role": "user", "content": problem.text}
    turns = [{"role": role, "content": content} for role, content in problem.turns]
    return {
        "id": problem.id,
        "problem": [*turns, asked] if turns else problem.text,
        "answer": problem.answer,
        "verifier": problem.verifier,
        "family": problem.family,
        "extra": dict(problem.extra),
    }
