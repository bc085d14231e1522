"""`EngineModule`: the model inside a rollout engine as an RLModule, without a copy of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override

from aepo_rllib.columns import Columns
from aepo_rllib.envs.text_env import ACTION_SPACE, OBSERVATION_SPACE
from aepo_rllib.models.token_scorer import TokenScorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

READS = (Columns.POLICY_LOGP, Columns.ENTROPY, Columns.LOGIT_VARIANCE)


class EngineModule(TorchRLModule):
    """An RLModule around a Hugging Face model that samples, for callbacks; new weights of the engine are its own, too.

    It is shown, and never trained: the learner's module is another one.
    """

    @classmethod
    def around(cls, model: PreTrainedModel) -> EngineModule:
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
        self.scorer = TokenScorer(self.model_config["model"], share_prompts=False)

    @property
    def model(self) -> PreTrainedModel:
        """The engine's model."""
        return self.scorer.model

    @override(torch.nn.Module)
    def train(self, mode: bool = True) -> EngineModule:
        """Nothing: the engine goes on sampling without dropout."""
        return self

    @override(RLModule)
    def _forward(self, batch: Mapping[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        """Figures of given completions per token, `READS`; see `TokenScorer`."""
        return self.scorer(batch, READS)
