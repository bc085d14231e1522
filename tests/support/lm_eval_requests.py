"""Requests as lm-eval hands them to a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance


def requests(
    n: int, prompts: Sequence[str] = ("Add 1 2.", "Add 3 4."), task: str = "t", **kwargs: Any
) -> list[Instance]:
    """Every prompt n times, as the same object; `kwargs` replace generation settings."""
    arguments = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 24, "until": []} | kwargs
    made = [
        Instance("generate_until", {}, (text, arguments), 0, metadata=(task, i, n)) for i, text in enumerate(prompts)
    ]
    return [request for request in made for _ in range(n)]
