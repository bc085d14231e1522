"""A learner's weights and Adam moments on disk, each learner its part (torch.distributed.checkpoint).

Frozen weights are left out: they stay as the model's files have them. Parts are named by weight and know their place in
the whole, so that any number of learners reads what any other wrote.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_parts
from torch.distributed.checkpoint.state_dict_saver import async_save
from transformers import PreTrainedModel

from aepo_rllib.models.named_weights import learned_state
from aepo_rllib.support.hashing import HashedStream

# torch warns that one process works alone where it was told so; and it does so in a thread of its own.
warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized", UserWarning)

WEIGHTS, MOMENTS = "weights", "moments"
KINDS = ("exp_avg", "exp_avg_sq")
"""AdamW's, beside the number of steps."""


class Writing:
    """A learner's part on its way to the disk, while the learner goes on.

    Args:
        model, optimizer: Of this learner; they are copied to the host's memory before this returns.
        folder: One that all learners see.
        group: Of all learners, on CPUs, where they share their weights and each writes its part; None where this one
            has everything.
    """

    def __init__(
        self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, folder: Path, group: ProcessGroup | None
    ) -> None:
        moments = {name: optimizer.state[weight] for name, weight in _trained(model) if weight in optimizer.state}
        state = {WEIGHTS: learned_state(model), MOMENTS: moments}
        self._writer = _HashingWriter(folder)
        self._future: Any = async_save(state, storage_writer=self._writer, process_group=group, no_dist=group is None)

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._future.done()

    def result(self) -> Digests:
        """Size and SHA-256 of every file that this learner has written, by its name in the folder.

        Raises:
            Exception: it could not be written.
        """
        try:
            self._future.result()
        except CheckpointException as error:  # no Exception, and of many lines
            raise next(iter(error.failures.values()))[0] from None
        return self._writer.fs.digests


Digests = dict[str, tuple[int, str]]


class _HashingFiles(FileSystem):
    def __init__(self) -> None:
        self.digests: Digests = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[Any]:
        with Path(path).open(mode) as file:
            if mode != "wb":
                yield file
                return
            stream = HashedStream(file)  # type: ignore[arg-type]
            yield stream
        self.digests[Path(path).name] = stream.bytes, stream.hexdigest()

    def rename(self, path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        super().rename(path, new_path)
        self.digests[Path(new_path).name] = self.digests.pop(Path(path).name)


class _HashingWriter(FileSystemWriter):
    fs: _HashingFiles

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fs = _HashingFiles()


def load(model: PreTrainedModel, optimizer: torch.optim.Optimizer, folder: Path, *, together: bool) -> None:
    """Read them into a learner's own tensors; before the first optimizer step there are no moments."""
    stored = FileSystemReader(folder).read_metadata().state_dict_metadata
    state: dict[str, Any] = {WEIGHTS: learned_state(model), MOMENTS: {}}
    optimizer.state.clear()
    for name, weight in _trained(model):
        if f"{MOMENTS}.{name}.step" in stored:
            moments = {kind: torch.zeros_like(weight, requires_grad=False) for kind in KINDS}
            optimizer.state[weight] = state[MOMENTS][name] = {"step": torch.zeros(()), **moments}
    load_parts(state, checkpoint_id=folder, no_dist=not together)


def _trained(model: PreTrainedModel) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
