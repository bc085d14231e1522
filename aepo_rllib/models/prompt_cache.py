"""A prompt's keys and values, computed once, for all completions of it; gradients flow through them.

transformers' cache layers grow when a decoder layer hands them keys and values. A decoder layer that is computed again
in the backward pass would grow them again, so here a layer's state before and after its update are two objects: the
same update may come any number of times.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig


class PromptCache(DynamicCache):
    """A `DynamicCache` for one forward pass; `continued` gives the one of the next."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config=config)
        for layer in self.layers:
            kind: Any = type(layer)
            layer.__class__ = _replayable(kind)

    def continued(self, rows: torch.Tensor) -> PromptCache:
        """The cache that a pass has filled, with the rows of these indices, for passes that go on from it."""
        selected = copy.copy(self)
        selected.layers = [layer.continued(rows) for layer in self.layers]
        return selected


@functools.cache
def _replayable(kind: Any) -> Any:
    """A class of layers that stay as they are before their update; `after` is what they become."""

    class Replayable(kind):
        after: Any = None

        def update(self, *states: Any, **options: Any) -> Any:
            after = copy.copy(self)
            result = kind.update(after, *states, **options)
            self.after = self.after or after
            return result

        def continued(self, rows: torch.Tensor) -> Any:
            layer = copy.copy(self.after or self)
            layer.after = None
            layer.batch_select_indices(rows)
            return layer

    return Replayable
