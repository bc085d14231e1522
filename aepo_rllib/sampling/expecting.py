"""Environments that are told of a completion before its step, so that judging it may begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import VectorActionWrapper, VectorEnv, VectorWrapper

from aepo_rllib.sampling.vector_envs import SideBySide


def listener(env: VectorEnv) -> Callable[[int, str], None] | None:
    """What is told of an environment's next action before its step, see docs/environments.md; None where none asks."""
    asked = env.envs[0] if isinstance(env, SideBySide) else env
    if _changes_actions(asked) or not callable(expect := getattr(asked.unwrapped, "expect", None)):
        return None
    return (lambda place, action: env.envs[place].unwrapped.expect(action)) if isinstance(env, SideBySide) else expect


def _changes_actions(env: Any) -> bool:
    """Whether one of its wrappers says that what it steps is not what it is given."""
    while isinstance(env, gymnasium.Wrapper | VectorWrapper):
        if isinstance(env, gymnasium.ActionWrapper | VectorActionWrapper):
            return True
        env = env.env
    return False
