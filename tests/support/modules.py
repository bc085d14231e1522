"""Models that tests build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aepo_rllib.learning.rl_module import CausalLMModule

ABSOLUTE_POSITIONS, SLIDING_WINDOW = "gpt2", "mistral"
"""Tiny architectures that notice what the embedded one cannot: RoPE forgives shifted positions."""


def build_module(model: str, **model_config: Any) -> CausalLMModule:
    """A learner's module, built as the algorithm builds it. Ray is imported here, so that pure tests load none."""
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec

    from aepo_rllib.envs.text_env import ACTION_SPACE, OBSERVATION_SPACE
    from aepo_rllib.learning.rl_module import CausalLMModule

    return RLModuleSpec(
        module_class=CausalLMModule,
        observation_space=OBSERVATION_SPACE,
        action_space=ACTION_SPACE,
        model_config={"model": model, **model_config},
    ).build()
