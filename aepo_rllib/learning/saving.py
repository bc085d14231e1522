"""`SavingLearner`: a learner that writes checkpoints and exports while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from aepo_rllib.learning.shards import Digests, Writing
from aepo_rllib.learning.weight_keeper import WeightKeeper
from aepo_rllib.models.export import write_huggingface


class SavingLearner(WeightKeeper):
    """Copies what it has to the host's memory at once, and writes it in threads of its own."""

    _writing: Writing | None = None
    _exporting: Future[None] | None = None

    def begin_save(self, folder: Path) -> None:
        """Write this learner's part of weights and moments; those of all who have everything are learner 0's alone."""
        if self.index == 0 or self.config.sharded:
            group = self._cpu_group if self.config.sharded else None
            self._writing = Writing(self.model, self.optimizer, folder, group)

    def begin_export(self, folder: Path, info: Mapping[str, Any]) -> None:
        """Write the weights as a Hugging Face model directory, by learner 0; a collective where learners share them."""
        own = self.gathered_weights()
        if own is not None:
            self._exporting = self._thread.submit(write_huggingface, self.config.model_path, own, folder, info=info)

    def written(self) -> bool:
        """Whether nothing is being written any more."""
        return all(task is None or task.done() for task in (self._writing, self._exporting))

    def take_digests(self) -> Digests:
        """Size and SHA-256 of the files of this learner's part, by name; once, when all is `written`.

        Raises:
            Exception: something could not be written.
        """
        writing, exporting = self._writing, self._exporting
        self._writing = self._exporting = None
        if exporting is not None:
            exporting.result()
        return {} if writing is None else writing.result()

    @property
    def rates(self) -> list[float]:
        """The optimizer's present learning rates; RLlib's schedules set the next ones after a step."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def set_rates(self, rates: list[float]) -> None:
        """Go on with these."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    @cached_property
    def _cpu_group(self) -> Any:
        """Of all learners: writers meet beside the gradients."""
        return torch.distributed.new_group(backend="gloo")

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "export")
