"""The run directory: what a run leaves on disk, and where."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from aepo_rllib.checkpoint import CheckpointError, sha256, verify
from aepo_rllib.cli.errors import check_unused

CONFIG, METRICS, SAMPLES = "config.yaml", "metrics.jsonl", "samples.jsonl"
CHECKPOINTS, TENSORBOARD, HUGGINGFACE = "checkpoints", "tensorboard", "huggingface"
LOCK = ".lock"
FREE_BYTES_NEEDED = 64 * 1024**2


def check_unused_run(path: Path) -> None:
    """Never write over another run (ValueError)."""
    check_unused(path, f"continue that run with --resume {path}, or choose another --output")


class RunFolder:
    """A run directory.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], *, bytes_needed: int = 0) -> RunFolder:
        """Start a run in an empty or new directory.

        Raises:
            ValueError: it already holds something, or the disk is too full.
            OSError: it cannot be made.
        """
        check_unused_run(path)
        path.mkdir(parents=True, exist_ok=True)
        needed = max(bytes_needed, FREE_BYTES_NEEDED)
        if (free := shutil.disk_usage(path).free) < needed:
            path.rmdir()
            raise ValueError(f"{path}: {free / 1e6:.0f} MB free on this disk, but the run needs {needed / 1e6:.0f} MB")
        folder = cls(path)
        folder.write_atomically(CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        return folder

    def config(self) -> dict[str, Any]:
        """The resolved configuration the run was started with.

        Raises:
            ValueError: this is no run directory.
        """
        file = self.path / CONFIG
        if not file.is_file():
            raise ValueError(f"{self.path} is no run directory: it has no {CONFIG}")
        return yaml.safe_load(file.read_text(encoding="utf-8"))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder during a block; the hold ends with the process, however it ends.

        Raises:
            ValueError: another process holds it; names that one.
        """
        with (self.path / LOCK).open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise ValueError(f"{self.path} is in use by {file.read().strip() or 'another process'}") from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one JSON line to a file."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def read(self, name: str) -> list[dict[str, Any]]:
        """The JSON lines of a file; a torn last line is left out."""
        file = self.path / name
        if not file.is_file():
            return []
        records = []
        # Not splitlines(): it also splits at characters that JSON leaves as they are inside a text.
        for line in file.read_text(encoding="utf-8").split("\n"):
            if not line:
                continue
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def cut(self, name: str, last_step: int) -> None:
        """Drop records after a step: a resumed run writes them again."""
        kept = [record for record in self.read(name) if record["step"] <= last_step]
        self.write_atomically(name, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))

    def write_atomically(self, name: str, text: str) -> None:
        """Replace a file as a whole, or not at all."""
        temporary = self.path / f".{name}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)

    def checkpoints(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted((self.path / CHECKPOINTS).glob("step_*"))

    def good_checkpoint(self, tell: Callable[[str], None]) -> Path | None:
        """The newest checkpoint that is what was written; None when there is none at all.

        Args:
            tell: Called with a sentence for every newer one that is not; such a one is set aside.

        Raises:
            ValueError: there are some, but all of them are damaged.
        """
        damaged = []
        for checkpoint in reversed(self.checkpoints()):
            try:
                verify(checkpoint)
            except CheckpointError as error:
                damaged.append(checkpoint)
                tell(f"{checkpoint.name} cannot be used: {error}")
                continue
            for bad in damaged:
                bad.rename(bad.with_name(f".damaged_{bad.name}_{time.time_ns()}"))
            return checkpoint
        if damaged:
            raise ValueError(f"{self.path}: none of its checkpoints can be used")
        return None

    def save_checkpoint(self, algo: Any, *, keep: int) -> Path:
        """Write a checkpoint, which appears when it is whole, and remove the oldest ones."""
        final = self.path / CHECKPOINTS / f"step_{algo.train_steps:06d}"
        if final.exists():
            return final
        final.parent.mkdir(exist_ok=True)
        algo.save_to_path(str(final.resolve()))
        for old in self.checkpoints()[:-keep]:
            shutil.rmtree(old)
        return final


def weights_fingerprint(model_folder: Path) -> str:
    """A digest of a model folder's safetensors, or "" where there are none (a hub id)."""
    files = sorted(model_folder.glob("*.safetensors")) if model_folder.is_dir() else []
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest() if files else ""
