"""`HeldEngine`: an env runner's rollout engine, from its first use to its release, and the weights that wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from aepo_rllib.rollout import RolloutEngine, acquire_engine, engine_class, release_engine
from aepo_rllib.sampling.engine_module import EngineModule

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig


class HeldEngine:
    """The engine of one env runner. It is built when it is first needed: the local runner may only wait beside others.

    Args:
        config: Of the env runner.
        idle: Others sample, and no weights are kept for an engine that never comes.
    """

    def __init__(self, config: TextRLConfig, *, idle: bool = False) -> None:
        self._config, self._idle = config, idle
        self._version = 0
        self._engine: RolloutEngine | None = None
        self._module: EngineModule | None = None
        self._waiting: tuple[Mapping[str, torch.Tensor], int] | None = None

    def awake(self) -> RolloutEngine:
        """The engine, awake, with the newest weights.

        Raises:
            Exception: it could not be built, or the weights not be loaded; they wait for another try.
        """
        if self._engine is None:
            self._engine = self._build()
        self._engine.wake()
        if self._waiting is not None:
            weights, version = self._waiting
            self._engine.update_weights(weights, version=version)
            self._waiting = None
        return self._engine

    def _build(self) -> RolloutEngine:
        config = self._config
        on_gpu = config.num_gpus_per_env_runner > 0 and torch.cuda.is_available()
        return acquire_engine(
            engine_class(config.engine),
            config.model_path,
            dtype=config.dtype,
            device="cuda" if on_gpu else "cpu",
            **config.engine_options,
        )

    def take_weights(self, weights: Mapping[str, torch.Tensor], version: int | None = None) -> None:
        """Sample from other weights from now on; an engine that is still to come gets them when it is built.

        Args:
            weights: All of them, named as in the Hugging Face model's state dict.
            version: Their number; None counts on.

        Raises:
            Exception: the engine could not load them; they wait for another try.
        """
        self._version = self._version + 1 if version is None else version
        if self._idle and self._engine is None:
            return
        self._waiting = weights, self._version
        if self._engine is not None:
            self.awake()

    @property
    def weights_version(self) -> int:
        """Version of the weights that the next sample is drawn from; 0 are those of the model's files."""
        shared = 0 if self._engine is None else self._engine.weights_version
        return self._version if self._waiting is not None or self._idle else shared

    @property
    def asleep(self) -> bool | None:
        """Whether the engine's memory is given back; None where there is no engine yet."""
        return None if self._engine is None else self._engine.asleep

    def sleep(self) -> None:
        """Have the engine give its memory back until it is needed; one that is still to come has none."""
        if self._engine is not None:
            self._engine.sleep()

    def module(self) -> EngineModule | None:
        """The engine's model, weights shared, as an RLModule; None where the engine has a model of its own kind."""
        if engine_class(self._config.engine).own_model:
            return None
        engine: Any = self.awake()
        if self._module is None or self._module.model is not engine.model:
            self._module = EngineModule.around(engine.model)
        return self._module

    def release(self) -> None:
        """Close the engine, unless others in this process use it too."""
        if self._engine is not None:
            release_engine(self._engine)
            self._engine = self._module = None
