"""The run directory: what a run leaves on disk, and where."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from aepo_rllib.checkpoint import CheckpointError, verify
from aepo_rllib.cli.errors import check_unused
from aepo_rllib.files import claimed, write_atomically

CONFIG, METRICS, SAMPLES = "config.yaml", "metrics.jsonl", "samples.jsonl"
CHECKPOINTS, TENSORBOARD, HUGGINGFACE = "checkpoints", "tensorboard", "huggingface"
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

    def claimed(self) -> AbstractContextManager[None]:
        """Hold the folder during a block, see `aepo_rllib.files.claimed`."""
        return claimed(self.path)

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
        write_atomically(self.path / name, text)

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
