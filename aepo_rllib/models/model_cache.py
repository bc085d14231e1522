"""Which models can be sampled token by token here: those whose whole state is a `DynamicCache`."""

from __future__ import annotations

import inspect
import sys

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import LinearAttentionCacheLayerMixin


def cache_argument(model: PreTrainedModel) -> str:
    """The argument of `model.forward` that takes its cache; the weights are not needed.

    Raises:
        ValueError: names the kind of model and what keeps it from being sampled.
    """
    if reason := _obstacle(model):
        raise ValueError(f"models of type {model.config.model_type!r} cannot be sampled from here: {reason}")
    return next(iter(_arguments(model)))


def _arguments(model: PreTrainedModel) -> list[str]:
    taken = inspect.signature(model.forward).parameters
    return [name for name in ("past_key_values", "cache_params") if name in taken]


def _obstacle(model: PreTrainedModel) -> str | None:
    if not _arguments(model):
        return "they take no cache"
    module = sys.modules[type(model).__module__]
    own = [
        name
        for name, value in vars(module).items()
        if name.endswith("Cache") and inspect.isclass(value) and value.__module__ == module.__name__
    ]
    if own:
        return f"they need a cache of their own ({', '.join(own)})"
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception as error:  # configurations differ in what they lack
        return f"transformers cannot build their cache ({type(error).__name__}: {error})"
    if model._is_stateful and not any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers):
        return "they keep their state in themselves"
    return None
