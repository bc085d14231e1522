"""What `env` of a config stands for: an id of gymnasium's or Ray's registry, "module:Name", or a class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import register_env

from aepo_rllib.rllib_seam import registered_env


class EnvSource(Protocol):
    """Makes environments."""

    @property
    def is_vector(self) -> bool:
        """Whether it is known to make vector environments."""

    def single(self, context: EnvContext) -> Any:
        """One environment; or a vector, where it makes nothing else."""

    def vector(self, context: EnvContext, num_envs: int) -> VectorEnv:
        """So many environments as a vector."""


@dataclass(frozen=True)
class RegisteredEnv:
    """An id of gymnasium's registry; its environments take keyword arguments.

    Callable as one of Ray's creators are, so that Ray can bring it to other processes.
    """

    spec: EnvSpec

    def __call__(self, context: EnvContext) -> Any:
        """One environment."""
        return self.single(context)

    @property
    def is_vector(self) -> bool:
        """Whether the id has a vector entry point."""
        return self.spec.vector_entry_point is not None

    def single(self, context: EnvContext) -> Any:
        """One environment, in gymnasium's own wrappers."""
        return gymnasium.make(self.spec, **context)

    def vector(self, context: EnvContext, num_envs: int) -> VectorEnv:
        """What the vector entry point makes."""
        return gymnasium.make_vec(self.spec, num_envs=num_envs, **context)


@dataclass(frozen=True)
class CreatedEnv:
    """A class or function that takes one mapping, as RLlib has it; for a vector, `num_envs` is in the mapping."""

    create: Callable[[EnvContext], Any]
    vector_mode: bool = False

    @property
    def is_vector(self) -> bool:
        """Whether it is the class of a vector environment, or was declared to make them."""
        return self.vector_mode or (isinstance(self.create, type) and issubclass(self.create, VectorEnv))

    def single(self, context: EnvContext) -> Any:
        """Whatever it makes."""
        return self.create(context)

    def vector(self, context: EnvContext, num_envs: int) -> VectorEnv:
        """A vector of the size that the mapping names."""
        env = self.create(context.copy_with_overrides(env_config={**context, "num_envs": num_envs}))
        if not isinstance(env, VectorEnv) or env.num_envs != num_envs:
            raise ValueError(
                f"the environment was asked for num_envs={num_envs} and is a {type(env).__name__} of "
                f"{getattr(env, 'num_envs', 'no')} environments; it must make a vector of "
                'env_config["num_envs"] environments'
            )
        return env


def find_env(env: Any, vectorize_mode: str = "sync") -> EnvSource:
    """The environment that a config means.

    Args:
        env: Registered id, "module:Class", "module:function", gymnasium's "module:id", or a class.
        vectorize_mode: RLlib's `gym_env_vectorize_mode`; "vector_entry_point" where a class or function makes vectors.

    Raises:
        ValueError: there is none; says how to make it known.
    """
    found = _named(env) if isinstance(env, str) else env if isinstance(env, type) else None
    if isinstance(found, EnvSpec):
        return RegisteredEnv(found)
    if isinstance(found, RegisteredEnv):
        return found
    if not callable(found):
        raise ValueError(
            f"env={env!r} is no environment here: register it with ray.tune.register_env or gymnasium.register (which "
            "counts for its own process), or give its class or 'module:Class'"
        )
    _check_signature(env, found)
    mode = gymnasium.VectorizeMode(vectorize_mode)
    return CreatedEnv(found, vector_mode=mode is gymnasium.VectorizeMode.VECTOR_ENTRY_POINT)


def publish_env(env: Any) -> None:
    """Make an id of gymnasium's registry, which is a process's own, known to all processes of this Ray cluster."""
    if isinstance(env, str) and env in gymnasium.registry and registered_env(env) is None:
        register_env(env, RegisteredEnv(gymnasium.registry[env]))


def _named(name: str) -> Any:
    if name in gymnasium.registry:
        return gymnasium.registry[name]
    if (creator := registered_env(name)) is not None:
        return creator
    module, colon, attribute = name.partition(":")
    if not (module and colon):
        return None
    try:
        imported = import_module(module)
    except ImportError as error:
        raise ValueError(
            f"env={name!r}: cannot import {module!r} ({error}); install it, or name its folder in PYTHONPATH"
        ) from error
    return gymnasium.registry.get(attribute) or getattr(imported, attribute, None)


def _check_signature(env: Any, create: Callable[..., Any]) -> None:
    try:
        inspect.signature(create).bind({})
    except TypeError as error:
        raise ValueError(
            f"env={env!r} is called with one argument, the mapping env_config ({error}); take it, or register the "
            "class with gymnasium.register, whose environments take keyword arguments"
        ) from error
    except ValueError:  # a callable that has no signature to look at
        pass
