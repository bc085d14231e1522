"""Counting bytes without spending them: what is alive while fake tensors go through a real model."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, from their birth to their end.

    Args:
        weights: They do not count. Where gradients of one wait for each other, autograd adds them up in place, but
            for fake tensors, for which it is done here.

    Attributes:
        now: Bytes alive.
        stage: Name of what is going on; whoever watches may change it.
        traces: Bytes alive after every operation, by stage.
    """

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now, self.stage = 0, ""
        self.traces: dict[str, list[int]] = defaultdict(list)
        self._known = WeakIdKeyDictionary()
        self._shapes = set()
        for tensor in weights:
            self._known[tensor.untyped_storage()] = True
            self._shapes.add(tensor.shape)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return torch.device("cpu")  # asked of fake tensors twice for every operation, and slowly answered
        if func is torch.ops.aten.add.Tensor and all(getattr(each, "shape", None) in self._shapes for each in args):
            func = torch.ops.aten.add_.Tensor
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        self.traces[self.stage].append(self.now)
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known[storage] = True
            self.now += storage.nbytes()
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.now -= size


class _Kernel(torch.autograd.Function):
    """A fused attention kernel, as to what it keeps: its inputs, its output, a logarithm a query, and its mask."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any) -> torch.Tensor:
        output, sums = torch.empty_like(query), query.new_empty(query.shape[:3], dtype=torch.float32)
        # A mask of truth values becomes numbers, in every layer.
        ctx.save_for_backward(query, key, value, output, sums, None if mask is None else mask.to(query.dtype))
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


def _kernel(*inputs: torch.Tensor, mask: Any = None) -> torch.Tensor:
    kind = inputs[0].device.type
    if torch.is_autocast_enabled(kind):
        inputs = tuple(part.to(torch.get_autocast_dtype(kind)) for part in inputs)
    output: torch.Tensor = _Kernel.apply(*inputs, mask)
    return output


class _CountedKernel(torch.overrides.TorchFunctionMode):
    """Puts `_Kernel` in the place of torch's, which would be its slow form here."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            query, key, value = args[:3]
            return _kernel(query, key, value, mask=(kwargs or {}).get("attn_mask"))
        return func(*args, **(kwargs or {}))


def _counted_sdpa(*args: Any, **kwargs: Any) -> Any:
    with _CountedKernel():
        return sdpa_attention_forward(*args, **kwargs)


def _counted_unmasked(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
    return _kernel(query, key, value).transpose(1, 2), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


def counted_attention(implementation: str | None) -> str:
    """The name under which transformers finds a stand-in for an attention of its own; "eager" needs none."""
    if implementation == "eager":
        return implementation
    flash = "flash" in (implementation or "")
    name, forward, mask = (
        ("counted_unmasked", _counted_unmasked, _no_mask) if flash else ("counted_sdpa", _counted_sdpa, sdpa_mask)
    )
    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, mask)
    return name
