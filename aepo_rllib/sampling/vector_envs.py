"""Vectors of a text environment, whatever its kind, and how its problems are asked for.

docs/environments.md says what an environment has to do. What it does wrong is refused here, with the cure.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from ray.rllib.env.env_context import EnvContext

from aepo_rllib.envs.text_env import PROBLEM_INDEX
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.sampling.env_sources import EnvSource


class Chat(NamedTuple):
    """What the model is shown: a text, and the turns (role, content) before it."""

    text: str
    turns: tuple[tuple[str, str], ...] = ()


class SideBySide(VectorEnv):
    """Single environments as a vector: each is handed its own reset options, and rests when its episode is over.

    (Gymnasium's `SyncVectorEnv` hands all of them the same options, and steps those that have ended.)

    Attributes:
        envs: The environments.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012 - gymnasium's own convention

    def __init__(self, envs: Sequence[gymnasium.Env]) -> None:
        self.envs, self.num_envs = list(envs), len(envs)
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Start all episodes; the problem indices in `options` are one for each environment."""
        if seed is None or isinstance(seed, int):  # gymnasium's rule
            seed = [None if seed is None else seed + place for place in range(self.num_envs)]
        own = [options] * self.num_envs
        if options and PROBLEM_INDEX in options:
            own = [{**options, PROBLEM_INDEX: index} for index in options[PROBLEM_INDEX]]
        results = [env.reset(seed=one, options=each) for env, one, each in zip(self.envs, seed, own, strict=True)]
        return tuple(observation for observation, _ in results), _vector_infos([info for _, info in results])

    def step(self, actions: Sequence[str | None]) -> tuple[Any, ...]:
        """Step every environment that has an action; the others rest."""
        rest: tuple[Any, ...] = ("", 0.0, False, False, {})
        results = [rest if action is None else env.step(action) for env, action in zip(self.envs, actions, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*results, strict=True)
        return observations, rewards, np.array(terminated), np.array(truncated), _vector_infos(infos)


class VectorEnvs:
    """Vector environments of one kind, one for every size that has been asked for; single environments are shared.

    Args:
        source: Makes the environments.
        context: Their arguments.
    """

    def __init__(self, source: EnvSource, context: EnvContext) -> None:
        self._source, self._context = source, context
        self._by_size: dict[int, VectorEnv] = {}
        self._singles: list[gymnasium.Env] = []
        self._is_vector = source.is_vector

    def of_size(self, num_envs: int) -> VectorEnv:
        """A vector of this size, kept for the next request of it.

        Raises:
            ValueError: it is no environment of texts.
        """
        if num_envs not in self._by_size:
            env = self._vector(num_envs)
            self._by_size[num_envs] = env
            _check_spaces(env)
        return self._by_size[num_envs]

    def close(self) -> None:
        """Close all of them; later ones are made anew."""
        while self._by_size:
            env = self._by_size.popitem()[1]
            if not isinstance(env, SideBySide):
                env.close()
        while self._singles:
            self._singles.pop().close()

    def _vector(self, num_envs: int) -> VectorEnv:
        while not self._is_vector and len(self._singles) < num_envs:
            env = self._source.single(self._context)
            if isinstance(env, VectorEnv):
                env.close()
                self._is_vector = True
            else:
                _check_single(env)
                self._singles.append(env)
        if self._is_vector:
            return self._source.vector(self._context, num_envs)
        return SideBySide(self._singles[:num_envs])


def problem_count(env: VectorEnv) -> int | None:
    """Number of problems that an environment lists in `problems`; None where it draws them by its seed.

    Raises:
        ValueError: the list is empty.
    """
    problems: Any = getattr(env.unwrapped, "problems", None)
    if isinstance(env, SideBySide) and env.envs[0].has_wrapper_attr("problems"):
        problems = env.envs[0].get_wrapper_attr("problems")
    if not hasattr(problems, "__len__"):
        return None
    if not len(problems):
        raise ValueError("the environment's list `problems` is empty")
    return len(problems)


def reset(env: VectorEnv, problems: Sequence[int]) -> tuple[Sequence[str], list[dict[str, Any]]]:
    """Start every environment on a problem of its own.

    Args:
        env: The environments.
        problems: An index of each into the environment's `problems`, or the seed that it draws a problem by.

    Returns:
        Observations, and an info for each environment, which names its problem.

    Raises:
        ValueError: an observation is no text.
    """
    listed = problem_count(env) is not None
    if listed:
        observations, infos = env.reset(options={PROBLEM_INDEX: list(problems)})
    else:
        observations, infos = env.reset(seed=list(problems))
    for observation in observations:
        _check_text(observation)
    kind = "problem" if listed else "seed"
    named = [{"problem_id": f"{kind}-{problem}"} for problem in problems]
    return observations, [name | info for name, info in zip(named, _split_infos(infos, len(problems)), strict=True)]


def step(env: VectorEnv, actions: list[str | None]) -> tuple[Any, ...]:
    """Gymnasium's step, with an info for each environment.

    Args:
        env: The environments.
        actions: A completion for each; None where the episode is over. A vector environment of the user's gets an
            empty text there, and what it returns of that row means nothing.

    Raises:
        ValueError: a reward is no number, a later observation no text, or a verdict none of `Verdict`.
    """
    singles = isinstance(env, SideBySide)
    given = actions if singles else ["" if action is None else action for action in actions]
    observations, rewards, terminated, truncated, infos = env.step(given)
    split = _split_infos(infos, len(actions))
    for place in (place for place, action in enumerate(actions) if action is not None):
        if not (terminated[place] or truncated[place]):
            _check_text(observations[place])
        _check_verdict(split[place])
    return observations, _numbers(rewards), terminated, truncated, split


def check_groups(groups: Sequence[Hashable], observations: Sequence[str], infos: Sequence[dict[str, Any]]) -> None:
    """Refuse groups whose members were shown different problems: their rewards would be compared with each other.

    Args:
        groups: Which group each environment belongs to; its members are neighbours.
        observations: What each shows.
        infos: What each says of it.

    Raises:
        ValueError: names the problem and two of the texts.
    """
    starts = zip(groups, observations, infos, strict=True)
    for _, group in groupby(starts, key=lambda start: start[0]):
        (_, first, info), *others = group
        for _, text, other in others:
            if chat_of(text, other) != chat_of(first, info):
                raise ValueError(
                    f"the environment showed the members of one group different problems for {info['problem_id']}: "
                    f"{_short(first)} and {_short(text)}; reset() must choose the problem by "
                    f"options['{PROBLEM_INDEX}'] alone where the environment has a list `problems`, else by its seed "
                    "alone (super().reset(seed=seed), then self.np_random)"
                )


def chat_of(observation: str, info: dict[str, Any]) -> Chat:
    """What the model is shown for an observation: the text, after the turns that its info names.

    Raises:
        ValueError: these are no turns.
    """
    turns = info.get("turns") or ()
    try:
        pairs = tuple((role, content) for role, content in turns)
    except (TypeError, ValueError):
        pairs = ((None, None),)
    if not all(isinstance(role, str) and isinstance(content, str) for role, content in pairs):
        raise ValueError(f"the environment's info['turns'] must be pairs of texts (role, content); got {_short(turns)}")
    return Chat(observation, pairs)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_single(env: Any) -> None:
    if not isinstance(env, gymnasium.Env):
        raise ValueError(f"the environment is of type {type(env).__name__}, neither a gymnasium.Env nor a VectorEnv")
    for name in ("observation_space", "action_space"):
        if not hasattr(env, name):
            raise ValueError(
                f"the environment {type(env.unwrapped).__name__} has no {name}; set it to "
                "aepo_rllib.envs.spaces.AnyText()"
            )


def _check_spaces(env: VectorEnv) -> None:
    for name, space in (("observation", env.single_observation_space), ("action", env.single_action_space)):
        if not isinstance(space, gymnasium.spaces.Text):
            raise ValueError(
                f"the environment is not one of texts: its {name} space is {_short(space)}; it must be "
                "aepo_rllib.envs.spaces.AnyText(), or a gymnasium.spaces.Text"
            )
    if env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP:
        raise ValueError(
            "the vector environment resets in the very step that ends an episode, whose last info is lost; give it "
            "metadata = {'autoreset_mode': gymnasium.vector.AutoresetMode.DISABLED}"
        )


def _check_text(observation: Any) -> None:
    if not isinstance(observation, str):
        raise ValueError(
            f"the environment's observation is of type {type(observation).__name__}, {_short(observation)}; it must be "
            "a text"
        )


def _check_verdict(info: dict[str, Any]) -> None:
    known = [verdict.value for verdict in Verdict]
    if "verdict" in info and info["verdict"] not in known:
        raise ValueError(
            f"the environment's info['verdict'] is {_short(info['verdict'])}; it must be one of {', '.join(known)}, or "
            "left out"
        )


def _numbers(rewards: Sequence[Any]) -> np.ndarray:
    try:
        return np.array([float(reward) for reward in rewards])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the environment gave a reward that is no number: {_short(list(rewards))}") from error


def _vector_infos(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Gymnasium's form: one array per key, here always of objects, and a mask beside it."""
    vector: dict[str, Any] = {}
    for name in dict.fromkeys(name for info in infos for name in info):
        vector[name] = np.empty(len(infos), dtype=object)
        for place, info in enumerate(infos):
            vector[name][place] = info.get(name)
        vector[f"_{name}"] = np.array([name in info for info in infos])
    return vector


def _split_infos(infos: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Gymnasium's vector infos as one dict per sub-environment; nested dicts come apart likewise."""
    split: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in (name for name in infos if not name.startswith("_") and f"_{name}" in infos):
        nested = isinstance(infos[name], dict)
        values = _split_infos(infos[name], count) if nested else infos[name]
        for place in np.flatnonzero(infos[f"_{name}"]).tolist():
            split[place][name] = values[place]
    return split
