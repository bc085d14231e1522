"""`WeightKeeper`: a learner's weights: where they are, who has which part, and how they leave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.utils.annotations import override
from transformers import PreTrainedModel

from aepo_rllib.learning import shards
from aepo_rllib.learning.rl_module import BasePolicy, CausalLMModule
from aepo_rllib.learning.sharding import fill, own_part, read_once, shard, whole
from aepo_rllib.models.export import write_adapter
from aepo_rllib.models.hf import DTYPES
from aepo_rllib.models.lora import adapter_weights, base_state, merged_weights, start_adapters
from aepo_rllib.rllib_seam import SteppingLearner
from aepo_rllib.transfer.object_store import store
from aepo_rllib.transfer.weights import LiveWeights, Named, StoredWeights

Used = TypeVar("Used")


class WeightKeeper(SteppingLearner):
    """A learner that has all weights, or shares them with the others (`config.sharded`).

    Where they are shared, whatever reads or writes them is a collective: all learners are asked, learner 0 answers.
    """

    @property
    def model(self) -> PreTrainedModel:
        """The Hugging Face model that learns."""
        return self.module[DEFAULT_MODULE_ID].unwrapped().model

    @override(SteppingLearner)
    def model_device(self) -> str:
        """A learner that keeps but a part of the weights does not read them all."""
        return "meta" if self.config.sharded else super().model_device()

    @override(SteppingLearner)
    def place(self, module: MultiRLModule) -> None:
        """Bring the module to this learner's device, whole or in parts."""
        if self.config.sharded:
            self._spread(module[DEFAULT_MODULE_ID])
        else:
            super().place(module)

    @override(SteppingLearner)
    def replicate(self) -> None:
        """Nothing where weights are shared."""
        if not self.config.sharded:
            super().replicate()

    @override(SteppingLearner)
    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor that learners may share, gathered by all of them."""
        return whole(tensor)

    @override(SteppingLearner)
    def own_part(self, tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """This learner's part of a tensor."""
        return own_part(tensor, like)

    def _spread(self, module: CausalLMModule) -> None:
        """Share a module's weights, which learner 0 alone reads, with the other learners."""
        source = read_once(self.config.model_path, self.index, self.device)
        shard(module.scorer, self.device)
        fill(module.model, source)
        start_adapters(module.model, self.config.seed or 0, own_part)

    @functools.cached_property
    def reference(self) -> CausalLMModule | BasePolicy:
        """The policy that the run started from: a second model of the passes' dtype, or what is beside adapters."""
        if self.config.lora_rank:
            return BasePolicy(self.module[DEFAULT_MODULE_ID].unwrapped())
        spec = self.config.get_default_rl_module_spec()
        spec.model_config = {**spec.model_config, "device": self.model_device(), "frozen": True}
        module = spec.build()
        if self.config.sharded:
            self._spread(module)
        return module.to(self.device)

    def weights(self) -> Named:
        """The weights for the engines, whole, tensor by tensor; a collective where learners share them.

        They are named as in the Hugging Face model, tied ones once, with adapters merged into them, and have 16 bits
        where the engines' do.
        """
        dtype = DTYPES[self.config.dtype]
        for name, sent in merged_weights(self.model, whole):
            yield name, whole(sent.to(dtype) if sent.is_floating_point() else sent)

    def live_weights(self) -> LiveWeights:
        """`weights` as they are when they are read, for an engine in this very process."""
        return LiveWeights([*base_state(self.model)], self.weights)

    def stored_weights(self) -> StoredWeights | None:
        """`weights` in Ray's object store, by learner 0; the others take part where they share them."""
        return self._by_first(store)

    def gathered_weights(self) -> dict[str, torch.Tensor] | None:
        """`weights` on the host, at learner 0; the others take part where they share them."""
        return self._by_first(lambda weights: {name: tensor.to("cpu", copy=True) for name, tensor in weights})

    def export_adapter(self, folder: Path) -> None:
        """Write the adapters alone, likewise."""
        adapters = adapter_weights(self.model, whole)
        if self.index == 0:
            write_adapter(self.config.model_path, self.model, adapters, folder)

    def _by_first(self, use: Callable[[Named], Used]) -> Used | None:
        """What learner 0 makes of the weights; others are there where it gathers them, to the end, come what may."""
        if self.index and not self.config.sharded:
            return None
        weights = self.weights()
        try:
            return None if self.index else use(weights)
        finally:
            for _ in weights:
                pass

    def load_part(self, folder: Path) -> None:
        """Read this learner's part."""
        shards.load(self.model, self.optimizer, folder, together=self.config.sharded)
