"""Bytes of one rollout engine on its device, by kind."""

from __future__ import annotations

from typing import NamedTuple

from aepo_rllib.planning.learners import Bytes
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import ModelShape
from aepo_rllib.rollout.transformers import TOKENS_IN_FLIGHT

SHARE = "gpu_memory_utilization"
"""Option of an engine that takes a share of its GPU whatever it needs, and makes a cache of what its model leaves."""
PARTS = "tensor_parallel_size"
"""Option of an engine that spreads its model over several GPUs."""
LIMIT = "max_tokens_in_flight"
"""Option of an engine that samples in waves of so many tokens; one that has none is taken to have Transformers'."""
WORKSPACE_BYTES = 2 * 10**9
"""Of such an engine: CUDA graphs, and the activations of its largest batch."""
ASLEEP_BYTES = 10**9
"""What it keeps on the GPU while it sleeps: context and CUDA graphs."""
SAMPLING_BYTES = 5 * 10**8
"""Of the other one while it draws tokens, beside the logits."""


class EngineBytes(NamedTuple):
    """An engine.

    Attributes:
        awake, asleep: Bytes on each of its GPUs.
        cached_tokens: How many tokens its cache holds.
        complaint: Why it would not start; "" if it does.
    """

    awake: Bytes
    asleep: Bytes
    cached_tokens: int
    complaint: str = ""

    @property
    def weights(self) -> int:
        """Which go to the host while it sleeps."""
        return self.awake["engine's weights"]


def engine_bytes(shape: ModelShape, settings: Settings, gpu_memory: int) -> EngineBytes:
    """What one engine of a run takes of a GPU with so much memory, or of the host."""
    parts = settings.engine_option(PARTS) or 1
    weights, token = shape.parameters * settings.itemsize // parts, shape.cached_numbers * settings.itemsize // parts
    share = settings.engine_option(SHARE)
    if share is not None and gpu_memory:
        return _sharing(shape, settings, int(share * gpu_memory), weights, token)
    row = settings.prompt_tokens + settings.max_new_tokens
    limit = settings.engine_option(LIMIT) or TOKENS_IN_FLIGHT
    tokens = min(settings.rows_in_flight() * row, max(limit, row))
    layer = token * tokens // len(shape.layers)  # a layer's cache grows by being copied
    logits = tokens // row * shape.config.get_text_config().vocab_size * settings.itemsize
    kinds = {"engine's weights": weights, "cache": token * tokens + layer, "sampling": SAMPLING_BYTES + logits}
    return EngineBytes(kinds, {}, tokens)


def _sharing(shape: ModelShape, settings: Settings, taken: int, weights: int, token: int) -> EngineBytes:
    cache = taken - weights - WORKSPACE_BYTES
    tokens = max(cache, 0) // token
    needed = min(filter(None, (shape.context, settings.engine_option("max_model_len"))), default=0)
    complaint = ""
    if tokens < needed:
        complaint = (
            f"the engine's cache would hold {tokens} tokens of the {needed} that it reads at a time; raise "
            f"engine_options.{SHARE}={settings.engine_option(SHARE)}, or lower engine_options.max_model_len"
        )
    awake = {"engine's weights": weights, "engine's workspace": WORKSPACE_BYTES, "cache": max(cache, 0)}
    return EngineBytes(awake, {"engine asleep": ASLEEP_BYTES}, tokens, complaint)
