"""`EngineModule`: the model inside a rollout engine as an RLModule, without a copy of its weights."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.annotations import override

from aepo_rllib.envs.text_env import ACTION_SPACE, OBSERVATION_SPACE
from aepo_rllib.learning.rl_module import CausalLMModule


class EngineModule(CausalLMModule):
    """A `CausalLMModule` around a Hugging Face model that samples; new weights of the engine are its own, too."""

    @classmethod
    def around(cls, model: Any) -> EngineModule:
        """The module of this model."""
        return cls(
            observation_space=OBSERVATION_SPACE,
            action_space=ACTION_SPACE,
            inference_only=True,
            model_config={"model": model},
        )

    @override(RLModule)
    def setup(self) -> None:
        """Take the model as it is."""
        self.half: torch.dtype | None = None
        self.model = self.model_config["model"]
        self.share_prompts = False
