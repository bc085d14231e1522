"""How vLLM's worker processes take weights: an engine of its weight-transfer API. Imported by them, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from vllm.distributed.weight_transfer import WeightTransferEngine, WeightTransferEngineFactory
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from aepo_rllib.rollout.vllm import WEIGHT_TRANSFER
from aepo_rllib.transfer.shared_memory import MappedBucket


class Registration:
    """Mixed into vLLM's worker class (`worker_extension_cls`) to have every worker process import this module."""


@dataclass
class Nothing(WeightTransferInitInfo):
    """Needed to begin."""


@dataclass
class Portion(WeightTransferUpdateInfo):
    """Some of the weights, named as in the Hugging Face model.

    Attributes:
        weights: A bucket, or names and tensors where the worker is in the process that asks; these are gone through
            once, and each is there for as long as it is its turn.
    """

    weights: MappedBucket | Iterable[tuple[str, torch.Tensor]]


class HostTransfer(WeightTransferEngine[Nothing, Portion]):
    """Takes weights through the host's memory.

    vLLM's own loading splits and fuses them, layer by layer, as it did at the start. `lm_head.weight` has to be among
    them even where it is tied to the embeddings, or the output head keeps its old values.
    """

    init_info_cls, update_info_cls = Nothing, Portion

    def init_transfer_engine(self, init_info: Nothing) -> None:
        """There is nothing to do."""

    def start_weight_update(self) -> None:
        """Prepare layers for new weights. Those of an update that failed half-way must not count as loaded."""
        finalize_layerwise_reload(self.model, self.model_config)
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict) -> None:
        """See `receive_weights`. A bucket has been copied when this returns; vLLM's own waits for a GPU, always."""
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Portion) -> None:
        """Load a portion; what is tensor parallel takes its part."""
        weights = update_info.weights
        self.model.load_weights(weights.tensors() if isinstance(weights, MappedBucket) else weights)

    def finish_weight_update(self) -> None:
        """Put into place what waits for the last portion."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """There is nothing to do."""


WeightTransferEngineFactory.register_engine(WEIGHT_TRANSFER, HostTransfer)
