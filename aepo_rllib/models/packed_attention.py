"""Attention over packed rows: transformers' own kernels, which are handed one block of sequences after another."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from aepo_rllib.models.packing import Block, Packing

PREFIX = "packed_"
States = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Queries, keys and values, (1, heads, S, D)."""


def pack_attention(model: PreTrainedModel) -> None:
    """Have a model's attention know packed rows, which `packing=` names; without it, it stays as it is."""
    inner = model.config.get_text_config()._attn_implementation
    if inner.startswith(PREFIX):
        return
    name = PREFIX + inner
    AttentionInterface.register(name, functools.partial(_attend, inner))
    if inner in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[inner])
    model.config._attn_implementation = name


def unpack_attention(model: PreTrainedModel) -> None:
    """Undo `pack_attention`: some models look at their kernel's name, and mask nothing where they do not know it."""
    model.config._attn_implementation = model.config.get_text_config()._attn_implementation.removeprefix(PREFIX)


def packed_inputs(packing: Packing) -> dict[str, Any]:
    """What a model's `forward` is called with."""
    # Masks of four dimensions are handed on as they are; this one, to nobody.
    no_mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=packing.ids.device)
    return {
        "input_ids": packing.ids,
        "position_ids": packing.positions,
        "attention_mask": no_mask,
        "packing": packing,
        "use_cache": False,
    }


def _attend(
    inner: str,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packing: Packing | None = None,
    **options: Any,
) -> tuple[torch.Tensor, Any]:
    """As transformers' attention functions: states (B, heads, S, D) to outputs (B, S, heads, D)."""
    attend = _function(inner, module)
    if packing is None:
        return attend(module, query, key, value, attention_mask, **options)
    _check_kind(module, options.get("sliding_window"))
    run = _in_one if "flash" in inner else _in_blocks
    return run(functools.partial(attend, module), packing, (query, key, value), options)[None], None


def _function(name: str, module: torch.nn.Module) -> Callable[..., Any]:
    """Of this name.

    Raises:
        NotImplementedError: it takes masks of another kind.
    """
    if name == "flex_attention":
        raise NotImplementedError("flex_attention does not know packed rows")
    if name == "eager":  # every model's own
        return sys.modules[type(module).__module__].eager_attention_forward
    return ALL_ATTENTION_FUNCTIONS[name]


def _check_kind(module: Any, window: int | None) -> None:
    """Attention that sees all that came before, or a window of it that it tells, can be cut into blocks.

    Raises:
        NotImplementedError: it is of another kind: a few tokens would not show it.
    """
    config = module.config
    window_there = getattr(config, "sliding_window", None) is not None
    kinds = getattr(config, "layer_types", None)
    kind = kinds[module.layer_idx] if kinds else ("sliding_attention" if window_there else "full_attention")
    if kind not in ("full_attention", "sliding_attention") or (kind == "sliding_attention") > (window is not None):
        raise NotImplementedError(f"{kind} of {config.model_type} does not know packed rows")


def _in_blocks(attend: Callable[..., Any], packing: Packing, states: States, options: dict[str, Any]) -> torch.Tensor:
    """Outputs (S, heads, D) of padded rows, block by block."""
    query, key, value = states
    dtype, outputs = _dtype_of_scores(query), []
    for block in packing.blocks:
        padded = (_taken(query, block.queries), _taken(key, block.keys), _taken(value, block.keys))
        output, _ = attend(*padded, block.mask(dtype, options.get("sliding_window")), **options)
        outputs.append(output.flatten(0, 1).index_select(0, block.real))
    return torch.cat(outputs)


def _in_one(attend: Callable[..., Any], packing: Packing, states: States, options: dict[str, Any]) -> torch.Tensor:
    """Outputs (S, heads, D) of a kernel for sequences of any lengths, whose last query sees all keys."""
    query, key, value = states
    places = torch.cat([_real_keys(block) for block in packing.blocks])
    query_lengths, key_lengths = (
        torch.cat([getattr(block, name) for block in packing.blocks]) for name in ("lengths", "key_lengths")
    )
    output, _ = attend(
        query,
        key.index_select(2, places),
        value.index_select(2, places),
        None,
        cu_seq_lens_q=_bounds(query_lengths),
        cu_seq_lens_k=_bounds(key_lengths),
        max_length_q=max(block.queries.shape[1] for block in packing.blocks),
        max_length_k=max(block.keys.shape[1] for block in packing.blocks),
        **options,
    )
    return output[0]


def _taken(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(1, heads, S, D) at places (R, Q), as (R, heads, Q, D)."""
    taken = states[0].transpose(0, 1).index_select(0, places.flatten())
    return taken.unflatten(0, places.shape).transpose(1, 2)


def _real_keys(block: Block) -> torch.Tensor:
    """Places of the keys of one sequence after the other."""
    steps = torch.arange(block.keys.shape[1], device=block.keys.device)
    return block.keys[steps < block.key_lengths[:, None]]


def _bounds(lengths: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)


def _dtype_of_scores(query: torch.Tensor) -> torch.dtype:
    kind = query.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
