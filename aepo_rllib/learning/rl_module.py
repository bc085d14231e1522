"""`CausalLMModule`: a Hugging Face causal LM as an RLModule; what it computes is `TokenScorer`'s."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.models.hf import DTYPES, load_model
from aepo_rllib.models.token_scorer import TokenScorer


class CausalLMModule(TorchRLModule):
    """A causal LM, built from `model_config`.

    `model_config` keys:
        model: Hugging Face folder or id, or "embedded".
        dtype: "float32" (default) or "bfloat16". In 16 bits forward passes run under autocast, and the weights stay
            float32: an optimizer step of 1e-6 would be rounded away.
        share_prompts: Run each distinct prompt once, where the model's cache can do it; see `TokenScorer`.
    """

    @override(RLModule)
    def setup(self) -> None:
        """Load the model."""
        name = self.model_config.get("dtype", "float32")
        half = DTYPES[name] if DTYPES[name].itemsize == 2 else None
        self.model: PreTrainedModel = load_model(self.model_config["model"], dtype="float32" if half else name)
        share_prompts = self.model_config.get("share_prompts", True)
        self.scorer = TokenScorer(self.model, half=half, share_prompts=share_prompts)

    @override(torch.nn.Module)
    def train(self, mode: bool = True) -> CausalLMModule:
        """As `nn.Module.train`, but dropout stays off: a ratio of 1 at the first update needs one policy."""
        super().train(mode)
        self.model.eval()
        return self

    @override(RLModule)
    def _forward(
        self,
        batch: dict[str, torch.Tensor],
        *,
        reads: Collection[str] = (Columns.POLICY_LOGP, Columns.ENTROPY, Columns.LOGIT_VARIANCE),
        temperature: float = 1.0,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """Figures of given completions per token; arguments and result as in `TokenScorer.score`."""
        return self.scorer.score(batch, reads, temperature=temperature)
