"""The decoder layers of a Hugging Face model: what is recomputed, and what is sharded, one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def decoder_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The layers a model repeats, in order; none where transformers does not tell."""
    split = set(model._no_split_modules or ())
    return [
        module
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer) or type(module).__name__ in split
    ]


def recompute_activations(model: PreTrainedModel) -> None:
    """Have every decoder layer keep its input alone, and compute what lies inside again in the backward pass.

    transformers' own switch (`gradient_checkpointing_enable`) silently does nothing in eval mode, in which the learner
    keeps a model so that nothing drops out.

    Raises:
        ValueError: transformers does not tell the model's layers.
    """
    layers = decoder_layers(model)
    if not layers:
        raise ValueError(
            f"checkpoint_activations=True: models of type {model.config.model_type!r} do not tell their layers; switch "
            "it off, and lower tokens_per_backward instead"
        )
    for layer in layers:
        if not isinstance(layer, _Recomputing):
            kind = type(layer)
            layer.__class__ = type(f"Recomputing{kind.__name__}", (_Recomputing, kind), {})


class _Recomputing(torch.nn.Module):
    """Mixed into a layer's class: neither names of weights nor hooks around the layer change."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        forward = super().forward
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # Dropout is off, so that there is no state of generators to preserve.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
