"""`ModelShape`: what a model's configuration says of its size. No weights are read or made."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from aepo_rllib.models.hf import ModelError, reason_of, resolve_model
from aepo_rllib.models.layers import decoder_layers
from aepo_rllib.models.lora import Lora, add_adapters
from aepo_rllib.models.model_files import check_sizes


@dataclass(frozen=True, eq=False)
class ModelShape:
    """A causal LM of random size.

    Attributes:
        config: Of transformers.
    """

    config: Any

    def empty(self, **options: Any) -> PreTrainedModel:
        """The model on whatever device is the default; `options` are transformers' own."""
        return AutoModelForCausalLM.from_config(copy.deepcopy(self.config), trust_remote_code=False, **options)

    @cached_property
    def _model(self) -> PreTrainedModel:
        with torch.device("meta"):
            return self.empty()

    @cached_property
    def parameters(self) -> int:
        """All of them, tied ones once."""
        return _numbers(self._model)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Parameters of every decoder layer; what is left are embeddings, last norm and head."""
        return tuple(map(_numbers, decoder_layers(self._model)))

    @property
    def rest(self) -> int:
        """Parameters outside of the decoder layers."""
        return self.parameters - sum(self.layers)

    @cached_property
    def layers_are_alike(self) -> bool:
        """Whether some of the layers tell what the others need."""
        kinds = {tuple(tensor.shape for tensor in layer.parameters()) for layer in decoder_layers(self._model)}
        attention = set(getattr(self.config.get_text_config(), "layer_types", None) or ())
        return len(kinds) == 1 and len(attention) <= 1

    @lru_cache(maxsize=8)  # noqa: B019 - shapes live as long as the process
    def adapters(self, lora: Lora) -> int:
        """Parameters of adapters.

        Raises:
            ValueError: the model has no place for them.
        """
        with torch.device("meta"):
            model = self.empty()
        add_adapters(model, lora)
        return sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)

    @property
    def cached_numbers(self) -> int:
        """Keys and values that a token leaves in the cache, over all layers."""
        text = self.config.get_text_config()
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return 2 * text.num_hidden_layers * heads * width

    @property
    def context(self) -> int | None:
        """Most tokens that the model reads at a time; None where its configuration does not say."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)


@lru_cache(maxsize=8)
def read_shape(model: str) -> ModelShape:
    """The shape of a model folder, of which only config.json is read, or of a hub id.

    Raises:
        ModelError: there is no such configuration, or it is none of a causal LM.
    """
    try:
        config = AutoConfig.from_pretrained(resolve_model(model), trust_remote_code=False)
        check_sizes(config, None)
        shape = ModelShape(config)
        shape.parameters  # noqa: B018 - builds it once, so that what cannot be built is refused here
    except Exception as error:  # transformers and its validators raise anything
        raise ModelError(
            f"cannot plan for model {model!r}: {reason_of(error)}. A folder with its config.json is enough"
        ) from error
    return shape


def _numbers(module: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.parameters())
