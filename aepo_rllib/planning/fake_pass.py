"""What a learner's forward and backward pass needs beside weights and their gradients, counted on fake tensors.

The real layers and the real head run in the form that `TokenScorer` gives them, on tensors that have shapes and no
contents. Only what depends on contents is left out: all rows are of one length, and no token is padding.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from aepo_rllib.columns import Columns
from aepo_rllib.models.hf import DTYPES
from aepo_rllib.models.layers import decoder_layers, recompute_activations
from aepo_rllib.models.lora import Lora, add_adapters
from aepo_rllib.models.packed_attention import pack_attention, packed_inputs
from aepo_rllib.models.packing import Block, Packing, pack
from aepo_rllib.objectives.chunked_head import SLICE_LOGITS, head_statistics
from aepo_rllib.planning.live_bytes import LiveBytes, counted_attention
from aepo_rllib.planning.shape import ModelShape

FEW_LAYERS = (2, 3)
"""So many are counted where all are alike; the others add what the last one adds."""
OTHERS = "others"
"""Stages that more layers make longer; less is alive in them than before or after."""
FEW_ROWS = 2
"""So many rows and prompts are counted, and twice as many."""
SLICES = 2
"""So many of the head's slices of tokens need as much memory as all."""


@dataclass(frozen=True)
class Work:
    """A pass.

    Attributes:
        rows, prompts: Completions, and distinct prompts, which have as many each.
        prompt_tokens, completion_tokens: Of each.
        dtype: What it computes in.
        sharded: With weights that other learners share: they come in `dtype`, and are float32 otherwise.
        lora: Adapters that learn beside frozen weights in `dtype`.
        share_prompts, checkpoint, attention: Of `TokenScorer` and its model.
        entropy: Whether a loss reads it.
    """

    rows: int
    prompts: int
    prompt_tokens: int
    completion_tokens: int
    dtype: str = "float32"
    sharded: bool = False
    lora: Lora | None = None
    share_prompts: bool = True
    checkpoint: bool = False
    attention: str | None = None
    entropy: bool = False

    @property
    def half(self) -> torch.dtype | None:
        """What autocast computes in."""
        dtype = DTYPES[self.dtype]
        return dtype if dtype.itemsize == 2 and not self.sharded else None

    @property
    def weights(self) -> torch.dtype:
        """Of the weights that are there."""
        return torch.float32 if self.half and not self.lora else DTYPES[self.dtype]


class PassBytes(NamedTuple):
    """Bytes of a pass beside weights, gradients of an optimizer step, and Adam moments.

    Attributes:
        kept: When the layers have run, copies of weights that autocast made included.
        peak: At the worst moment.
    """

    kept: int
    peak: int


def pass_bytes(shape: ModelShape, work: Work) -> PassBytes:
    """Count a pass. It takes seconds, however large the pass is, and one of other rows and prompts no time."""
    if not shape.layers_are_alike or len(shape.layers) <= max(FEW_LAYERS):
        peaks = _peaks(shape, work, len(shape.layers))
    else:
        # Activations of layers go as the gradients of their weights come: the worst is at an end.
        few, more = (_peaks(shape, work, layers) for layers in FEW_LAYERS)
        left = len(shape.layers) - FEW_LAYERS[0]
        peaks = {stage: few[stage] + left * (more[stage] - few[stage]) for stage in few if stage != OTHERS}
    return PassBytes(peaks["kept"], max(peaks.values()))


def _peaks(shape: ModelShape, work: Work, layers: int) -> dict[str, int]:
    """Bytes kept, and most alive by stage, with so many of the layers.

    At every operation they grow by the same with every row and every prompt, once the head has several slices.
    """
    few = SLICES * max(1, SLICE_LOGITS // shape.config.get_text_config().vocab_size)
    if work.completion_tokens < few:
        traces = _count(shape, work, layers)
    else:
        sizes = ((FEW_ROWS, FEW_ROWS), (2 * FEW_ROWS, FEW_ROWS), (2 * FEW_ROWS, 2 * FEW_ROWS))
        one, two, apart = (_count(shape, replace(work, rows=n, prompts=p), layers) for n, p in sizes)
        rows, prompts = work.rows / FEW_ROWS - 1, work.prompts / FEW_ROWS - 1
        traces = {
            stage: one[stage] + rows * (two[stage] - one[stage]) + prompts * (apart[stage] - two[stage])
            for stage in one
        }
    return {stage: int(trace.max()) for stage, trace in traces.items()}


@lru_cache(maxsize=512)
def _count(shape: ModelShape, work: Work, layers: int) -> dict[str, np.ndarray]:
    """Bytes kept, and those alive after every operation by stage, with so many of the layers."""
    with torch.device("meta"):
        model = shape.empty(dtype=work.weights, attn_implementation=counted_attention(work.attention)).eval()
    _cut(model, layers)
    if work.lora:
        add_adapters(model, work.lora)
    if work.checkpoint:
        recompute_activations(model)
    if work.share_prompts:
        pack_attention(model)
    packing = _packing(work) if work.share_prompts else None
    with FakeTensorMode() as mode:
        packing = packing and _faked(packing, mode)
        _fake(model, work.weights if work.sharded else None)
        live = LiveBytes(model.parameters())
        _watch(model, work, live)
        with live:
            cached = not work.checkpoint
            with torch.autocast("cpu", dtype=work.half, enabled=work.half is not None, cache_enabled=cached):
                features_KD = _features(model, work, packing)
                kept, live.stage = live.now, "head forward"
                features_KD.register_hook(lambda gradient: setattr(live, "stage", "last layer backward"))
                loss = _head(model, features_KD, work)
                del features_KD
            live.stage = "head backward"
            loss.backward()
    return {"kept": np.array([kept]), **{stage: np.array(trace) for stage, trace in live.traces.items()}}


def _cut(model: PreTrainedModel, layers: int) -> None:
    """Leave out all but the first layers."""
    all_of_them = decoder_layers(model)
    for part in model.modules():
        if isinstance(part, torch.nn.ModuleList) and list(part) == all_of_them:
            del part[layers:]


def _fake(model: PreTrainedModel, gathered: torch.dtype | None) -> None:
    """Put fake tensors in the place of those on the meta device, weights in the type they are gathered in."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and id(weight) not in made:
                empty = torch.empty(weight.shape, dtype=gathered or weight.dtype)
                made[id(weight)] = torch.nn.Parameter(empty, requires_grad=weight.requires_grad)
            module._parameters[name] = made.get(id(weight))
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype)


def _watch(model: PreTrainedModel, work: Work, live: LiveBytes) -> None:
    """Have gradients added to those that are there already, which do not count, or sent to other learners.

    What is outside of the layers is sent at the end of a pass.
    """
    layers = decoder_layers(model)
    inside = {id(tensor) for layer in layers for tensor in layer.parameters()}
    for tensor in model.parameters():
        if tensor.requires_grad and (id(tensor) in inside or not work.sharded):
            tensor.register_post_accumulate_grad_hook(lambda tensor: setattr(tensor, "grad", None))
    for place, part in enumerate([model.get_input_embeddings(), *layers]):
        _name_stages(part, live, {0: "embeddings", 1: "first layer", len(layers): "last layer"}.get(place))


def _name_stages(module: torch.nn.Module, live: LiveBytes, name: str | None) -> None:
    """Have every run of a module name its stages, forward and backward."""
    runs = itertools.count()

    def begin(module: Any, inputs: Any) -> None:
        live.stage = f"{name} forward {next(runs)}" if name else OTHERS

    def end(module: Any, inputs: Any, output: Any) -> None:
        hidden, stage = output[0] if isinstance(output, tuple) else output, f"{live.stage} back" if name else OTHERS
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: setattr(live, "stage", stage))

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end)


def _features(model: PreTrainedModel, work: Work, packing: Packing | None) -> torch.Tensor:
    """Last hidden states of all completion tokens, (tokens, width); see `TokenScorer`."""
    if packing is not None:
        return model.base_model(**packed_inputs(packing)).last_hidden_state[0].index_select(0, packing.sources)
    width = work.prompt_tokens + work.completion_tokens
    ids = torch.zeros(work.rows, width, dtype=torch.long)
    hidden = model.base_model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        position_ids=torch.arange(width).expand(work.rows, -1),
        use_cache=False,
    ).last_hidden_state
    return hidden[:, -work.completion_tokens - 1 : -1].flatten(0, 1).clone()  # as the real tokens are taken out


def _packing(work: Work) -> Packing:
    """Of the pass's tokens."""
    N, P, L, T = work.rows, work.prompts, work.prompt_tokens, work.completion_tokens
    prompts, completions = torch.zeros(N, L, dtype=torch.long), torch.zeros(N, T, dtype=torch.long)
    return pack(
        {
            Columns.PROMPT_IDS: prompts,
            Columns.PROMPT_MASK: torch.ones_like(prompts, dtype=torch.bool),
            Columns.PROMPT_INDEX: torch.arange(N) * P // N,
            Columns.COMPLETION_IDS: completions,
            Columns.COMPLETION_MASK: torch.ones_like(completions, dtype=torch.bool),
        }
    )


def _faked(packing: Packing, mode: FakeTensorMode) -> Packing:
    """The same, of tensors without contents, which say nothing of how many there are of a kind."""

    def fake(value: Any) -> Any:
        return mode.from_tensor(value) if isinstance(value, torch.Tensor) else value

    blocks = [
        Block(**{each.name: fake(getattr(block, each.name)) for each in fields(Block) if each.init})
        for block in packing.blocks
    ]
    return Packing(fake(packing.ids), fake(packing.positions), tuple(blocks), fake(packing.sources))


def _head(model: PreTrainedModel, features_KD: torch.Tensor, work: Work) -> torch.Tensor:
    """The sum of log-probs: of a few slices, which need as much as all."""
    weight = model.get_output_embeddings().weight
    dtype = work.half or weight.dtype
    size = min(len(features_KD), SLICES * max(1, SLICE_LOGITS // len(weight)))
    ids = torch.zeros(size, dtype=torch.long)
    reads = ("entropy",) if work.entropy else ()
    statistics = head_statistics(features_KD.to(dtype)[:size], weight, None, ids, reads)
    return statistics.logp.sum() if statistics.entropy is None else (statistics.logp + statistics.entropy).sum()
