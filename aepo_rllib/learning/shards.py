"""A learner's weights and Adam moments on disk, each learner its part (torch.distributed.checkpoint).

Parts are named by weight and know their place in the whole, so that any number of learners reads what any other wrote.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import FileSystemReader
from transformers import PreTrainedModel

from aepo_rllib.models.named_weights import own_state

WEIGHTS, MOMENTS = "weights", "moments"
KINDS = ("exp_avg", "exp_avg_sq")
"""AdamW's, beside the number of steps."""


def save(model: PreTrainedModel, optimizer: torch.optim.Optimizer, folder: Path, *, together: bool) -> None:
    """Write them.

    Args:
        model, optimizer: Of this learner.
        folder: One that all learners see.
        together: Learners share their weights, and all of them are here; else this one has everything.
    """
    moments = {name: optimizer.state[weight] for name, weight in _trained(model) if weight in optimizer.state}
    with _quiet():
        dcp.save({WEIGHTS: own_state(model), MOMENTS: moments}, checkpoint_id=folder, no_dist=not together)


def load(model: PreTrainedModel, optimizer: torch.optim.Optimizer, folder: Path, *, together: bool) -> None:
    """Read them into a learner's own tensors; before the first optimizer step there are no moments."""
    stored = FileSystemReader(folder).read_metadata().state_dict_metadata
    state: dict[str, Any] = {WEIGHTS: own_state(model), MOMENTS: {}}
    optimizer.state.clear()
    for name, weight in _trained(model):
        if f"{MOMENTS}.{name}.step" in stored:
            moments = {kind: torch.zeros_like(weight, requires_grad=False) for kind in KINDS}
            optimizer.state[weight] = state[MOMENTS][name] = {"step": torch.zeros(()), **moments}
    with _quiet():
        dcp.load(state, checkpoint_id=folder, no_dist=not together)


@contextmanager
def _quiet() -> Iterator[None]:
    """torch warns that one process works alone where it was told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)
        yield


def _trained(model: PreTrainedModel) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
