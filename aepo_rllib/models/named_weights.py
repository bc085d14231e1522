"""A model's weights by name, tied ones once, and how others are copied into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

Weights = Mapping[str, torch.Tensor]


def own_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A model's state dict without the second names of tied weights."""
    second = second_names(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in second}


def learned_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """`own_state` without frozen weights, which stay as the model's files have them."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in own_state(model).items() if name not in frozen}


def second_names(model: torch.nn.Module) -> dict[str, str]:
    """Further names of tied weights, and the first of each ("lm_head.weight": "model.embed_tokens.weight")."""
    first: dict[int, str] = {}
    found = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            found[name] = first[id(parameter)]
        else:
            first[id(parameter)] = name
    return found


def check_names(given: Weights, model: torch.nn.Module) -> None:
    """Refuse weights that are not all of a model's; tied ones may come by one name or all.

    Raises:
        ValueError: names those that are missing or unknown.
    """
    known = model.state_dict().keys()
    second = second_names(model)
    covered = {*given} | {other for name, other in second.items() if name in given}
    missing = sorted(name for name in known - second.keys() if name not in covered)
    if missing or {*given} - known:
        raise ValueError(
            f"an update needs all weights of the model: missing {missing}, unknown {sorted({*given} - known)}"
        )


def with_second_names(weights: Weights, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors, of arrays too, and again by the other names of those that are tied, where not given."""
    others: dict[str, list[str]] = {}
    for other, name in second_names(model).items():
        others.setdefault(name, []).append(other)
    for name, given in weights.items():
        tensor = _as_tensor(given)
        yield name, tensor
        for other in others.get(name, ()):
            if other not in weights:
                yield other, tensor


@torch.no_grad()
def copy_weights(model: torch.nn.Module, weights: Weights) -> None:
    """Give a model other weights, one after the other.

    Args:
        model: Keeps its dtype and device.
        weights: All of them, named as in its state dict; tied ones by one name or all. Numpy arrays will do.

    Raises:
        ValueError: some are missing or unknown, or of another shape; before any is copied, but for the shape.
    """
    check_names(weights, model)
    own = model.state_dict()
    for name, tensor in weights.items():
        given = _as_tensor(tensor)
        if given.shape != own[name].shape:
            raise ValueError(f"{name} has shape {tuple(given.shape)} instead of {tuple(own[name].shape)}")
        own[name].copy_(given)


def _as_tensor(given: torch.Tensor | np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.array(given)) if isinstance(given, np.ndarray) else given
