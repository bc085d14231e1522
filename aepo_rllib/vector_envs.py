"""Vectors of a text environment, whatever its kind: registered with gymnasium, with Ray, or a class of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
from ray.tune.registry import ENV_CREATOR, _global_registry

from aepo_rllib.envs.text_env import PROBLEM_INDEX


class VectorEnvs:
    """Vector environments of one kind, one for every size that has been asked for.

    Args:
        env: Registered id, or a function from its arguments (a mapping) to an environment.
        kwargs: Arguments of the environment.
    """

    def __init__(self, env: str | Callable[[dict[str, Any]], gymnasium.Env], kwargs: dict[str, Any]) -> None:
        self._env, self._kwargs = env, kwargs
        self._by_size: dict[int, gymnasium.vector.VectorEnv] = {}

    def of_size(self, num_envs: int) -> gymnasium.vector.VectorEnv:
        """A vector of this size, kept for the next request of it."""
        if num_envs not in self._by_size:
            env = self._env
            if isinstance(env, str) and env in gymnasium.registry:
                self._by_size[num_envs] = gymnasium.make_vec(env, num_envs=num_envs, **self._kwargs)
            else:
                create = _global_registry.get(ENV_CREATOR, env) if isinstance(env, str) else env
                makers = [lambda place=place: _OwnProblem(create(self._kwargs), place) for place in range(num_envs)]
                self._by_size[num_envs] = gymnasium.vector.SyncVectorEnv(makers)
        return self._by_size[num_envs]

    def close(self) -> None:
        """Close all of them; later ones are made anew."""
        while self._by_size:
            self._by_size.popitem()[1].close()


def reset(env: gymnasium.vector.VectorEnv, problems: list[int]) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Start every environment on a problem of its own: observations, and an info for each."""
    observations, infos = env.reset(options={PROBLEM_INDEX: problems})
    return observations, _split_infos(infos, len(problems))


def step(env: gymnasium.vector.VectorEnv, actions: list[str]) -> tuple[Any, ...]:
    """Gymnasium's step, with an info for each environment."""
    *results, infos = env.step(actions)
    return *results, _split_infos(infos, len(actions))


class _OwnProblem(gymnasium.Wrapper):
    """Picks its own problem out of the whole batch's: a vector of environments hands all of them the same options."""

    def __init__(self, env: gymnasium.Env, place: int) -> None:
        super().__init__(env)
        self._place = place

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if options and PROBLEM_INDEX in options:
            options = {**options, PROBLEM_INDEX: options[PROBLEM_INDEX][self._place]}
        return self.env.reset(seed=seed, options=options)


def _split_infos(infos: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Gymnasium's vector infos as one dict per sub-environment."""
    names = [name for name in infos if not name.startswith("_") and f"_{name}" in infos]
    return [{name: infos[name][index] for name in names if infos[f"_{name}"][index]} for index in range(count)]
