"""`SavedAlgorithm`: checkpoints that appear whole or not at all, with a Hugging Face directory inside."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.fs
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER_GROUP
from ray.rllib.utils.annotations import override

from aepo_rllib.learning.learner_group import TextLearnerGroup
from aepo_rllib.learning.optimizer_step import ask_all, naming_lost_learners
from aepo_rllib.models.export import ADAPTER_FOLDER, HF_FOLDER, INFO_FILE
from aepo_rllib.support.sealed_folder import AppearingFolder, read_manifest, seal, verify
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.pending_checkpoint import PendingCheckpoint
from aepo_rllib.training.provenance import provenance

STATE_KEY = "text_rl"


class SavedAlgorithm(Algorithm):
    """RLlib's checkpoints in an envelope of ours, see `aepo_rllib.support.sealed_folder`."""

    config: TextRLConfig
    learner_group: TextLearnerGroup
    _pending: PendingCheckpoint | None = None
    STATE: tuple[str, ...] = ()
    """Attributes that a resumed run needs."""
    run_id: str = ""
    """Name of the run that this algorithm belongs to, which its checkpoints carry; the command line gives one."""
    train_steps: int
    base_entropy: float | None

    def sync_weights(self) -> None:
        """Bring the learner's weights to the env runners."""
        raise NotImplementedError

    def finish_learning(self) -> None:
        """Wait for optimizer steps that are under way."""
        raise NotImplementedError

    def settle_learning(self) -> None:
        """Likewise, and bring their weights to the env runners."""
        raise NotImplementedError

    @override(Algorithm)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state and ours."""
        self.settle_learning()
        return {**super().get_state(*args, **kwargs), STATE_KEY: self.own_state()}

    @override(Algorithm)
    def set_state(self, state: dict[str, Any]) -> None:
        """Restore RLlib's state and ours."""
        self.settle_learning()
        super().set_state(state)
        if STATE_KEY in state:
            self.set_own_state(state[STATE_KEY])

    def own_state(self) -> dict[str, Any]:
        """What a resumed run needs besides weights and optimizer. Sampling needs nothing: it is keyed by step."""
        return {name: getattr(self, name) for name in self.STATE}

    def set_own_state(self, state: dict[str, Any]) -> None:
        """Undo `own_state`."""
        for name in self.STATE:
            setattr(self, name, state[name])

    @classmethod
    @override(Algorithm)
    def from_checkpoint(cls, path: Any, *args: Any, **kwargs: Any) -> Any:
        """As RLlib's, which unpickles first.

        Raises:
            CheckpointError: the checkpoint is not what was written, or another version wrote it.
        """
        if isinstance(path, str | Path) and _is_local(path):
            read_manifest(Path(path))
        return super().from_checkpoint(path, *args, **kwargs)

    @override(Algorithm)
    def restore_from_path(self, path: str | Path, *args: Any, verified: bool = False, **kwargs: Any) -> None:
        """As RLlib's, which trusts what it finds, and leaves remote runners with the weights they started from.

        Args:
            path: The checkpoint.
            args, kwargs: RLlib's.
            verified: It has just been verified; reading it all again can be spared.

        Raises:
            CheckpointError: the checkpoint is not what was written, or another version wrote it.
        """
        if _is_local(path) and not verified:
            verify(Path(path))
        self.settle_learning()
        super().restore_from_path(path, *args, **kwargs)
        self.sync_weights()

    @override(Algorithm)
    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:
        """As RLlib's, with a Hugging Face directory inside; a local checkpoint appears whole or not at all.

        A remote one (a URI) is RLlib's alone.
        """
        path = path or tempfile.mkdtemp(prefix="aepo-checkpoint-")
        if not _is_local(path):
            return self._save_afar(str(path), **kwargs)
        self.begin_checkpoint(path, **kwargs).wait()
        return str(path)

    def begin_checkpoint(self, path: str | Path, **kwargs: Any) -> PendingCheckpoint:
        """Begin to write a local checkpoint; training may go on while learners write it, each its part.

        Args:
            path: A folder that all learners see.
            kwargs: RLlib's.

        Raises:
            OSError: it cannot be written.
            LearnerLost: a learner has died.
        """
        self.settle_learning()
        self._settle_pending()
        folder = AppearingFolder(Path(path).absolute())
        try:
            with naming_lost_learners(self.learner_group):
                self._begin_parts(folder.path, **kwargs)
        except BaseException:
            with contextlib.suppress(Exception):
                self.learner_group.wait()  # for what some have begun, and nobody will read
            folder.abandon()
            raise
        self._pending = PendingCheckpoint(folder, self.learner_group)
        return self._pending

    def _settle_pending(self) -> None:
        """Learners write one thing at a time."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.wait()

    def _begin_parts(self, folder: Path, **kwargs: Any) -> None:
        """RLlib's, with the learners' own in place of one state of all."""
        state = self.get_state(not_components=COMPONENT_LEARNER_GROUP)
        super().save_to_path(folder, state=state, **kwargs)
        (folder / INFO_FILE).write_text(json.dumps(self._info(), indent=2) + "\n", encoding="utf-8")
        self.learner_group.begin_save(folder / COMPONENT_LEARNER_GROUP)
        if self.config.export_checkpoints:
            self.learner_group.begin_export(folder / HF_FOLDER, self._info())
        if self.config.lora_rank:
            self.export_adapter(folder / ADAPTER_FOLDER)

    def _save_afar(self, uri: str, **kwargs: Any) -> str:
        """By way of this machine's disk: learners write files."""
        self._settle_pending()
        filesystem, path = pyarrow.fs.FileSystem.from_uri(uri)
        with tempfile.TemporaryDirectory(prefix="aepo-checkpoint-") as folder:
            self._begin_parts(Path(folder), **kwargs)
            digests = self.learner_group.wait()
            seal(Path(folder), {f"{COMPONENT_LEARNER_GROUP}/{name}": digest for name, digest in digests.items()})
            pyarrow.fs.copy_files(folder, path, destination_filesystem=filesystem)
        return uri

    def export_huggingface(self, folder: str | Path) -> None:
        """Write the current weights and the tokenizer as a Hugging Face model directory, which all learners see.

        Adapters are merged into the weights.
        """
        self.settle_learning()
        self._settle_pending()
        self.learner_group.begin_export(Path(folder).absolute(), self._info())
        self.learner_group.wait()

    def export_adapter(self, folder: str | Path) -> None:
        """Write the current adapters alone, in peft's format, into a folder that all learners see.

        Raises:
            ValueError: there are none.
        """
        if not self.config.lora_rank:
            raise ValueError("export_adapter() needs adapters: set lora_rank, or call export_huggingface()")
        self.settle_learning()
        path = Path(folder).absolute()
        ask_all(self.learner_group, lambda learner: learner.export_adapter(path))

    def _info(self) -> dict[str, Any]:
        """What a checkpoint and an export say of themselves, in `aepo.json`."""
        return {
            "algorithm": type(self).__name__,
            "step": self.train_steps,
            **({"run": self.run_id} if self.run_id else {}),
            "base_entropy": self.base_entropy,
            "template": self.config.env_config.get("template", "plain"),
            "answer_form": self.config.env_config.get("answer_form"),
            **provenance(self.config),
        }


def _is_local(path: str | Path) -> bool:
    return "://" not in str(path)
