"""Learners that share one set of weights (FSDP2): each keeps its part of weights, gradients and Adam moments.

A decoder layer's weights are gathered when it runs, forward and backward, and given back; those outside of the layers
(embeddings, last norm, head) stay from the beginning of a pass to its end. In 16 bits they are gathered in these, while
the parts that learn, and the sums of gradients, are float32; frozen ones have 16 bits everywhere, and no gradient.
"""

from __future__ import annotations

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from aepo_rllib.models.hf import ModelError, load_model
from aepo_rllib.models.layers import decoder_layers
from aepo_rllib.models.lora import base_state
from aepo_rllib.models.token_scorer import TokenScorer


def shard(scorer: TokenScorer, device: torch.device) -> None:
    """Spread a model, whose weights are on the meta device, over all learners; its weights are still anything."""
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    half = scorer.autocast_to
    precision = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=None if half is None else torch.float32)
    for part in (*decoder_layers(scorer.model), scorer):
        fully_shard(part, mesh=mesh, mp_policy=precision)
    scorer.autocast_to = None
    buffers = {name: buffer.clone() for name, buffer in scorer.named_buffers()}
    scorer.to_empty(device=device)
    with torch.no_grad():
        for name, buffer in scorer.named_buffers():
            buffer.copy_(buffers[name])


def give_back(scorer: TokenScorer) -> None:
    """Forget what was gathered for passes without a backward: a step would change it."""
    assert isinstance(scorer, FSDPModule)
    scorer.reshard()


def read_once(model: str, index: int, device: torch.device) -> PreTrainedModel | None:
    """A whole model on the host of learner 0, in the dtype of its files; None for the others.

    Raises:
        ModelError: learner 0 cannot read it; all of them raise, so that none waits for it.
    """
    source, error = None, ""
    if index == 0:
        try:
            source = load_model(model, dtype="auto")
        except ModelError as failure:
            error = str(failure)
    fine = torch.tensor(not error, dtype=torch.int32, device=device)
    torch.distributed.broadcast(fine, src=0)
    if not fine:
        raise ModelError(error or f"learner 0 cannot read model {model!r}")
    return source


@torch.no_grad()
def fill(model: PreTrainedModel, source: PreTrainedModel | None) -> None:
    """Give every learner its part of the source's weights, tensor by tensor; a collective of all learners.

    Args:
        model: A sharded one; adapters in it stay as they are.
        source: A whole one, on learner 0; None on the others.
    """
    given = {} if source is None else source.state_dict()
    for name, tensor in base_state(model).items():
        if source is None:
            full = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        else:
            full = given[name].to(tensor.device, tensor.dtype)
        torch.distributed.broadcast(full, src=0)
        tensor.copy_(own_part(full, tensor))


def own_part(full: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Of a tensor that every learner has, the part that this one keeps; all of it where they share none."""
    if not isinstance(like, DTensor) or isinstance(full, DTensor) or full.shape != like.shape:
        return full
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that learners share, gathered; a collective of all of them. Others are as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
