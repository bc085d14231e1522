"""RLlib's callbacks as an env runner calls them: of the config's classes, and of its functions (`on_episode_end=f`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gymnasium.vector import VectorEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils import force_list

CALLED = (
    "on_environment_created",
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_episode_end",
    "on_sample_end",
)
"""The callbacks that an env runner calls; the others are the algorithm's."""


class RunnerCallbacks:
    """Callbacks of one env runner; false where the user has given none.

    Args:
        config: Of the env runner.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        self._objects = [cls() for cls in force_list(config.callbacks_class)]
        self._functions = {name: getattr(config, f"callbacks_{name}") for name in CALLED}

    def __bool__(self) -> bool:
        return any(self._functions.values()) or any(type(each) is not RLlibCallback for each in self._objects)

    def call(self, name: str, **arguments: Any) -> None:
        """Call one of `CALLED`, objects before functions."""
        make_callback(name, self._objects, self._functions[name], kwargs=arguments)

    def teller(self, runner: Any, env: VectorEnv) -> Callable[..., None]:
        """A function that calls an episode callback for some rows, with the arguments that RLlib's own runner gives.

        Args:
            runner: The env runner; its module is built here if there is a callback to hand it to.
            env: Has a row for each episode.
        """
        if not self:
            return tell_nobody
        module = runner.module

        def tell(name: str, episodes: Sequence[SingleAgentEpisode], rows: Iterable[int], **more: Any) -> None:
            for row in rows:
                self.call(
                    name,
                    episode=episodes[row],
                    env_runner=runner,
                    metrics_logger=runner.metrics,
                    env=env.unwrapped,
                    rl_module=module,
                    env_index=row,
                    **more,
                )

        return tell


def tell_nobody(*_: Any, **__: Any) -> None:
    """Called where there are no callbacks, or none are to be told."""
