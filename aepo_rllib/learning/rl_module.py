"""`CausalLMModule`: a Hugging Face causal LM as an RLModule; what it computes is `TokenScorer`'s."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.annotations import override
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.learning.sharding import own_part, whole
from aepo_rllib.models.hf import DTYPES, empty_model, load_model
from aepo_rllib.models.lora import Lora, add_adapters, without_adapters
from aepo_rllib.models.token_scorer import TokenScorer


class CausalLMModule(TorchRLModule):
    """A causal LM, built from `model_config`.

    `model_config` keys:
        model: Hugging Face folder or id, or "embedded".
        dtype: "float32" (default) or "bfloat16". In 16 bits forward passes run under autocast, and the weights stay
            float32: an optimizer step of 1e-6 would be rounded away. Frozen ones have 16.
        frozen: Whether no weight ever learns, as of a reference.
        lora: Fields of `Lora`: adapters learn, and the model's own weights are frozen. None: all weights learn.
        share_prompts: Run each distinct prompt once, where the model's cache can do it; see `TokenScorer`.
        checkpoint_activations: Keep only the inputs of decoder layers for the backward pass.
        attn_implementation: Of transformers' ("sdpa", "eager", "flash_attention_2"); None: its choice.
        device: Where the weights are read to. "meta": nowhere, see `aepo_rllib.learning.sharding`.
    """

    @override(RLModule)
    def setup(self) -> None:
        """Load the model."""
        config = self.model_config
        name, lora = config.get("dtype", "float32"), config.get("lora")
        half = DTYPES[name] if DTYPES[name].itemsize == 2 else None
        attention, device = config.get("attn_implementation"), config.get("device", "cpu")
        kept = "float32" if half and not lora and not config.get("frozen") else name
        if device == "meta":
            model = empty_model(config["model"], dtype=kept, attention=attention)
        else:
            model = load_model(config["model"], dtype=kept, device=device, attn_implementation=attention)
        if lora:
            add_adapters(model, Lora(**lora))
        self.scorer = TokenScorer(
            model,
            half=half,
            share_prompts=config.get("share_prompts", True),
            checkpoint=config.get("checkpoint_activations") or False,
        )

    @override(TorchRLModule)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As RLlib's, of what learns: adapters alone where there are some; copied.

        A collective where learners share the weights.
        """
        return {name: np.array(whole(tensor.detach()).cpu()) for name, tensor in self._learned().items()}

    @override(TorchRLModule)
    @torch.no_grad()
    def set_state(self, state: Mapping[str, Any]) -> None:
        """As RLlib's, of what learns; a learner that shares the weights keeps its part.

        Raises:
            ValueError: it is not the state of such a module.
        """
        own = self._learned()
        if differing := sorted(state.keys() ^ own.keys()):
            raise ValueError(f"a state of other weights than those that learn here: {', '.join(differing[:3])} ...")
        parts = {
            name: own_part(torch.as_tensor(np.array(value)).to(own[name].device), own[name])
            for name, value in state.items()
        }
        self.load_state_dict(parts, strict=False)

    def _learned(self) -> dict[str, torch.Tensor]:
        """The state without frozen weights."""
        frozen = {name for name, each in self.named_parameters(remove_duplicate=False) if not each.requires_grad}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in frozen}

    @property
    def model(self) -> PreTrainedModel:
        """The Hugging Face model."""
        return self.scorer.model

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
        """Figures of given completions per token; arguments and result as in `TokenScorer`."""
        return self.scorer(batch, reads, temperature=temperature)


class BasePolicy:
    """The policy of a module's frozen weights, without its adapters: what a run with adapters started from.

    Attributes:
        scorer: The module's.
    """

    def __init__(self, module: CausalLMModule) -> None:
        self.module, self.scorer = module, module.scorer

    def forward_train(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """As the module's."""
        with without_adapters(self.module.model):
            return self.module.forward_train(*args, **kwargs)
