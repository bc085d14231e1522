"""LoRA (peft): small adapters learn beside frozen linear maps, and leave the learner merged into them.

Beside a map W comes alpha / rank x B A. A (rank, inputs) begins random and B (outputs, rank) at 0, so that the policy
begins as the model. The model keeps its class, and its maps become peft's `lora.Linear`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from aepo_rllib.models.hf import empty_model
from aepo_rllib.models.named_weights import own_state

ALL_LINEAR = "all-linear"
"""peft's word for every linear map but the head."""
ADAPTER = "default"
"""peft's name of the only one there is."""

Whole = Callable[[torch.Tensor], torch.Tensor]
"""Gathers a tensor that learners may share."""


class Lora(NamedTuple):
    """What adapters there are.

    Attributes:
        rank: Of their product.
        alpha: The product is scaled by alpha / rank.
        targets: Last parts of the names of linear maps, or `ALL_LINEAR`.
        seed: Of their first values.
    """

    rank: int
    alpha: float
    targets: str | Sequence[str] = ALL_LINEAR
    seed: int = 0


def check_lora(model: str, lora: Lora) -> None:
    """Refuse adapters that the model of a folder or hub id has no place for; none of its weights are read.

    Raises:
        ValueError: see `add_adapters`.
    """
    add_adapters(empty_model(model), lora)


def add_adapters(model: PreTrainedModel, lora: Lora) -> None:
    """Freeze a model, and put adapters of float32 or wider beside its linear maps.

    On the meta device they are there too, and `start_adapters` is for later.

    Raises:
        ValueError: a target is not there, or no linear map, or the head, whose logits are never shown.
    """
    from peft import LoraConfig, inject_adapter_in_model  # half a second that only these runs need

    _check_targets(model, lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out", UserWarning)  # peft sets it for each map alone
        try:
            inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
        except ValueError as error:
            raise ValueError(f"lora_target_modules={lora.targets!r}: {error}") from error
    for name, part in adapted_maps(model).items():
        if not isinstance(part.base_layer, torch.nn.Linear | Conv1D):
            raise ValueError(
                f"lora_target_modules={lora.targets!r} puts an adapter beside {name}, which is no linear map; choose "
                f"of {_choice(model)}"
            )
        weight = part.base_layer.weight
        for half in (part.lora_A, part.lora_B):
            half.to(torch.promote_types(weight.dtype, torch.float32)).to_empty(device=weight.device)
    if not next(model.parameters()).is_meta:
        start_adapters(model, lora.seed)


def _check_targets(model: PreTrainedModel, targets: str | Sequence[str]) -> None:
    head = model.get_output_embeddings()
    for target in () if targets == ALL_LINEAR else targets:
        named = [part for name, part in model.named_modules() if name == target or name.endswith(f".{target}")]
        if not named or not all(isinstance(part, torch.nn.Linear | Conv1D) and part is not head for part in named):
            why = "is no linear map inside the model" if named else "is not there"
            raise ValueError(f"lora_target_modules: {target!r} {why}; choose of {_choice(model)}")


def _choice(model: PreTrainedModel) -> str:
    """The last parts of the names of linear maps that may have an adapter."""
    head = model.get_output_embeddings()
    maps = {
        name.removesuffix(".base_layer").rpartition(".")[2]
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear | Conv1D) and part is not head and ".lora_" not in name
    }
    return ", ".join(sorted(maps))


def adapted_maps(model: PreTrainedModel) -> dict[str, Any]:
    """peft's layers by the names of the maps they stand for; none of a model without adapters."""
    if not hasattr(model, "peft_config"):
        return {}
    from peft.tuners.lora import LoraLayer

    return {name: part for name, part in model.named_modules() if isinstance(part, LoraLayer)}


def _halves(adapter: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return adapter.lora_A[ADAPTER].weight, adapter.lora_B[ADAPTER].weight


@torch.no_grad()
def start_adapters(
    model: PreTrainedModel, seed: int, own_part: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
) -> None:
    """Give adapters their first values, the same wherever the seed is.

    Args:
        model: One with adapters.
        seed: Of A, which is peft's draw (as of a `torch.nn.Linear`).
        own_part: Of a tensor, the part that is to be kept of it in place of another one.
    """
    generator = torch.Generator().manual_seed(seed)
    for adapter in adapted_maps(model).values():
        a, b = _halves(adapter)
        full = torch.nn.init.kaiming_uniform_(torch.empty(a.shape), a=math.sqrt(5), generator=generator)
        full = full.to(a.device, a.dtype)
        a.copy_(own_part(full, a) if own_part else full)
        b.zero_()


def base_state(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The frozen weights as the model without adapters names them, tied ones once; `own_state` where there are none."""
    maps = adapted_maps(model)
    added = {f"{name}.{inner}" for name, part in maps.items() for inner in part.state_dict() if inner[:5] == "lora_"}
    found = {}
    for name, tensor in own_state(model).items():
        owner, _, leaf = name.rpartition(".base_layer.")
        if name not in added:
            found[f"{owner}.{leaf}" if owner in maps else name] = tensor
    return found


def merged_weights(model: PreTrainedModel, whole: Whole) -> Iterator[tuple[str, torch.Tensor]]:
    """`base_state` with the adapters added, in float32 or wider: one map at a time, whole, never a second model.

    Weights without an adapter come as they are, and are not gathered. Asked for by all who share weights.
    """
    adapters = {f"{name}.weight": part for name, part in adapted_maps(model).items()}
    for name, tensor in base_state(model).items():
        weight = tensor.detach()
        if name in adapters:
            a, b = (whole(half.detach()) for half in _halves(adapters[name]))
            left, right = (a.T, b.T) if adapters[name].fan_in_fan_out else (b, a)
            weight = torch.addmm(whole(weight).to(a.dtype), left, right, alpha=adapters[name].scaling[ADAPTER])
        yield name, weight


def adapter_weights(model: PreTrainedModel, whole: Whole) -> dict[str, torch.Tensor]:
    """The adapters, whole, as peft names them in a file."""
    return {
        f"base_model.model.{name}.lora_{letter}.weight": whole(half.detach())
        for name, adapter in adapted_maps(model).items()
        for letter, half in zip("AB", _halves(adapter), strict=True)
    }


@contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """A block in which the model is what it was before it had learned.

    peft's own switch takes the adapters' gradients away as well, which FSDP2 and DDP have been told of.
    """
    adapters = adapted_maps(model).values()
    for adapter in adapters:
        adapter.set_scale(ADAPTER, 0)
    try:
        yield
    finally:
        for adapter in adapters:
            adapter.set_scale(ADAPTER, 1)
