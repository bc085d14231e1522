"""Reward functions of the user's own, by name: `module:function`, `path/to/file.py:function`, or an entry point's.

A reward function takes a completion and its problem:

    def reward(completion: SampledText, problem: Problem) -> float | Score: ...

It returns a number from `LOWEST_REWARD` to `HIGHEST_REWARD`. A completion counts as correct, in metrics and pass@k,
when its reward is above zero; a `Score` says it otherwise. It runs in the grader's worker processes, under their
deadline.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

from aepo_rllib.envs.completion import SampledText
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS, Problem
from aepo_rllib.support.plugins import find
from aepo_rllib.support.plugins import is_own as is_own

GROUP = "aepo_rllib.verifiers"
"""Entry points: each a reward function, or a `Verifier` of `aepo_rllib.envs.grading.verifiers`."""

LOWEST_REWARD, HIGHEST_REWARD = -10.0, 10.0
"""Advantages are relative to the group, so a scale beyond this has no use and is most likely a mistake."""


class Score(NamedTuple):
    """What a reward function may return to say more than a number.

    Attributes:
        reward: From `LOWEST_REWARD` to `HIGHEST_REWARD`.
        correct: Whether the completion counts as correct; None for a reward above zero.
        answer: The final answer, for majority votes and logs; None to have it read as for other verifiers.
    """

    reward: float
    correct: bool | None = None
    answer: str | None = None


RewardFunction = Callable[[SampledText, Problem], Any]


KNOWN_REWARD = f"{__name__}:known_reward"


def known_reward(completion: SampledText, problem: Problem) -> Score:
    """A reward that is known: what a grader tests itself with."""
    return Score(len(completion) / 8, correct=completion == problem.answer)


@lru_cache(maxsize=16)
def load_reward(name: str) -> RewardFunction:
    """The function of this name. Importing its module runs the module.

    Raises:
        ValueError: no such module, file or function, or the module raises; names the verifier.
    """
    function: RewardFunction = find("verifier", name, {}, GROUP, kind="function")
    if not callable(function):
        place, _, attribute = name.rpartition(":")
        raise ValueError(f"verifier {name!r:.200}: {place or 'its entry point'} has no function {attribute}")
    _check_signature(name, function)
    return function


def source_of(name: str) -> bytes:
    """The content of the file that a function is written in; empty where there is none."""
    file = inspect.getsourcefile(load_reward(name))
    return Path(file).read_bytes() if file else b""


def score(function: RewardFunction, completion: SampledText, problem: Problem) -> Score:
    """What the function gives, checked and complete.

    Raises:
        Exception: whatever the function raises.
        ValueError: it gives no number, or one out of range.
    """
    given = function(completion, problem)
    found = given if isinstance(given, Score) else Score(given)
    given_reward = found.reward.item() if hasattr(found.reward, "item") else found.reward
    if not isinstance(given_reward, Real) or not math.isfinite(given_reward):
        raise ValueError(f"the reward is {given_reward!r:.80}, no finite number")
    reward = float(given_reward)
    if not LOWEST_REWARD <= reward <= HIGHEST_REWARD:
        raise ValueError(f"the reward is {reward:g}, outside of {LOWEST_REWARD:g} to {HIGHEST_REWARD:g}")
    answer = None if found.answer is None else str(found.answer)[:MAX_ANSWER_CHARS]
    return Score(reward, bool(reward > 0 if found.correct is None else found.correct), answer)


def problem_as_json(problem: Problem) -> dict[str, Any]:
    """A problem as it travels to a worker."""
    return problem.__dict__ | {"extra": dict(problem.extra)}


def problem_from_json(fields: Mapping[str, Any]) -> Problem:
    """The problem behind `problem_as_json`."""
    return Problem(**{**fields, "turns": tuple((role, content) for role, content in fields["turns"])})


def _check_signature(name: str, function: RewardFunction) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a function in C nobody knows
        return
    try:
        signature.bind(SampledText(""), Problem("", "", ""))
    except TypeError as error:
        raise ValueError(
            f"verifier {name!r:.200}: it is called with (completion, problem), and takes {signature} ({error})"
        ) from error
