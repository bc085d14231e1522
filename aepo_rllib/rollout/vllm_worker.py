"""What vLLM's worker processes learn in addition. Imported by them, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class WeightUpdates:
    """Mixed into vLLM's worker class (`worker_extension_cls`)."""

    model_runner: Any

    def replace_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Take over all weights, named as in the Hugging Face model.

        vLLM's own loading splits and fuses them as it did at the start. `lm_head.weight` has to be among them even
        where it is tied to the embeddings, or the output head keeps its old values.
        """
        self.model_runner.reload_weights(weights_iterator=iter(weights))
