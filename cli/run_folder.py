"""The run directory: what a run leaves on disk, and where. What it has is not lost, nor taken for else.

What lies in it is input as much as the command line: it may have been cut, edited, or come from somebody else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml

from aepo_rllib.cli.errors import InputError, check_unused
from aepo_rllib.cli.records import append_record, cut_records, read_records
from aepo_rllib.support.locks import claimed, write_atomically
from aepo_rllib.support.sealed_folder import TEMPORARY, CheckpointError, OtherFormatError, remove, verify
from aepo_rllib.support.yaml_input import read_mapping

CONFIG, METRICS, SAMPLES, ERROR = "config.yaml", "metrics.jsonl", "samples.jsonl", "error.txt"
WARNINGS, PAGE = "warnings.jsonl", "run.html"
CHECKPOINTS, TENSORBOARD, HUGGINGFACE, INFO = "checkpoints", "tensorboard", "huggingface", "aepo.json"
FREE_BYTES_NEEDED = 64 * 1024**2
RUN, SEAL = "# Run ", "# SHA-256 of the lines above: "
_CHECKPOINT = re.compile(r"step_([0-9]{6,12})")


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
        self._saved: Path | None = None
        """The checkpoint that this process has written or verified last."""
        self._pending: Any = None
        """The `PendingCheckpoint` that is being written."""
        self._keep = 1
        self.damaged: list[Path] = []

    @classmethod
    @contextmanager
    def create(cls, path: Path, config: Mapping[str, Any], *, bytes_needed: int = 0) -> Iterator[RunFolder]:
        """Start a run in an empty or new directory, which is held during the block.

        Raises:
            ValueError: it already holds something, another process holds it, or the disk is too full.
            OSError: it cannot be made.
        """
        check_unused_run(path)
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        needed = max(bytes_needed, FREE_BYTES_NEEDED)
        if (free := shutil.disk_usage(path).free) < needed:
            if made:
                path.rmdir()
            raise ValueError(f"{path}: {free / 1e6:.0f} MB free on this disk, but the run needs {needed / 1e6:.0f} MB")
        try:
            with claimed(path):
                check_unused_run(path)  # again: another process may have been faster
                folder = cls(path)
                folder.write_config(config, secrets.token_hex(8))
                yield folder
        except InputError:
            if (path / CONFIG).is_file() and not (path / METRICS).exists():  # refused before its first step
                shutil.rmtree(path)
                path.mkdir(exist_ok=True)
            if made and not any(path.iterdir()):
                path.rmdir()
            raise

    def write_config(self, config: Mapping[str, Any], run: str) -> None:
        """Keep the resolved configuration, and the run's own name; its checkpoints carry that, too."""
        text = f"{RUN}{run}\n" if run else ""
        text += yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomically(self.path / CONFIG, text + _seal(text))

    def config(self) -> dict[str, Any]:
        """The resolved configuration of the run, see `config_and_id`."""
        return self.config_and_id()[0]

    def config_and_id(self) -> tuple[dict[str, Any], str]:
        """The resolved configuration of the run, and the run's own name; "" for one of an older version.

        Raises:
            ValueError: this is no run directory, or its configuration is not what was written.
        """
        file = self.path / CONFIG
        if not file.is_file():
            raise ValueError(f"{self.path} is no run directory: it has no {CONFIG}")
        values = read_mapping(file)
        if not values:
            raise ValueError(f"{file} is empty; start another run")
        text, sealed, _ = (whole := file.read_text(encoding="utf-8")).rpartition(SEAL)
        if sealed and whole != text + _seal(text):
            raise ValueError(
                f"{file} was changed since the run was started; a run goes on as it began: undo the change, or "
                f"start another run with --config {file}"
            )
        first = whole.partition("\n")[0]
        return values, first.removeprefix(RUN) if first.startswith(RUN) else ""

    def claimed(self) -> AbstractContextManager[None]:
        """Hold the folder during a block, see `aepo_rllib.support.locks.claimed`."""
        return claimed(self.path)

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one JSON line to a file."""
        append_record(self.path / name, record)

    def read(self, name: str) -> list[dict[str, Any]]:
        """The records of a file, see `aepo_rllib.cli.records.read_records`."""
        return read_records(self.path / name)

    def recorded_steps(self) -> int:
        """How many training steps the metrics tell of.

        Raises:
            ValueError: a step is missing, or a record is none; names file and line.
        """
        records = self.read(METRICS)
        for number, record in enumerate(records, start=1):
            if record["step"] != number:
                raise ValueError(f"{self.path / METRICS}:{number}: the record of step {number} is missing")
            if odd := [key for key, value in record.items() if type(value) not in (int, float)]:
                raise ValueError(f"{self.path / METRICS}:{number}: {odd[0]} is no number")
        return len(records)

    def cut(self, name: str, last_step: int) -> bool:
        """Drop records after a step, see `aepo_rllib.cli.records.cut_records`: a resumed run writes them again."""
        return cut_records(self.path / name, last_step)

    def checkpoints(self) -> list[Path]:
        """Checkpoints, oldest first; whatever else lies beside them is not ours."""
        folder = self.path / CHECKPOINTS
        found = [path for path in folder.iterdir() if _is_checkpoint(path.name)] if folder.is_dir() else []
        return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=step_of)

    def good_checkpoint(self, tell: Callable[[str], None]) -> Path | None:
        """The newest checkpoint that is what was written; None where no training step has been lost without one.

        Args:
            tell: Called with a sentence for every newer one that is not.

        Raises:
            ValueError: steps are recorded or a model is exported, but no checkpoint of them can be used; or another
                version has written them.
        """
        recorded, run = self.recorded_steps(), self.config_and_id()[1]
        self.damaged = []
        checkpoints = self.checkpoints()
        for checkpoint in reversed(checkpoints):
            if step_of(checkpoint) > recorded:
                tell(f"{checkpoint.name} is not used: {METRICS} ends with step {recorded}")
                continue
            try:
                _check(checkpoint, run)
            except OtherFormatError:
                raise
            except CheckpointError as error:
                self.damaged.append(checkpoint)
                tell(f"{checkpoint.name} cannot be used: {error}")
                continue
            self._saved = checkpoint
            return checkpoint
        self._check_nothing_lost(recorded, bool(checkpoints))
        return None

    def set_damaged_aside(self) -> None:
        """Take out of the way what `good_checkpoint` has refused, when a run goes on from another one."""
        for bad in self.damaged:
            bad.rename(bad.with_name(f".damaged_{bad.name}_{time.time_ns()}"))

    def _check_nothing_lost(self, recorded: int, has_others: bool) -> None:
        """A run may begin again only where no checkpoint was due yet."""
        every = self.config().get("checkpoint_every", 1)
        if type(every) is not int:
            raise ValueError(f"{self.path / CONFIG}: checkpoint_every={every!r} must be a whole number")
        exported = os.path.lexists(self.path / HUGGINGFACE)
        sampled = max((record["step"] for record in self.read(SAMPLES)), default=0)
        if not (exported or has_others or recorded > every or sampled > recorded + 1):
            return
        state = "none of its checkpoints can be used" if has_others else f"its checkpoints ({CHECKPOINTS}/) are gone"
        raise ValueError(
            f"{self.path} has {recorded} steps on record{' and an exported model' if exported else ''}, but {state}: "
            f"it cannot go on, and nothing in it was touched; start another run with --config {self.path / CONFIG}"
        )

    def begin_checkpoint(self, algo: Any, *, keep: int) -> None:
        """Begin to write a checkpoint, which appears when it is whole; then the oldest ones go, see `settle`."""
        final = self.path / CHECKPOINTS / step_name(algo.train_steps)
        self.settle(wait=True)
        if final != self._saved:
            final.parent.mkdir(exist_ok=True)
            self._pending, self._keep = algo.begin_checkpoint(final), keep

    def settle(self, *, wait: bool = False) -> None:
        """Have a checkpoint appear that has been written meanwhile, and remove the oldest ones.

        Args:
            wait: Until it has been.

        Raises:
            Exception: it could not be written.
        """
        pending = self._pending
        if pending is None:
            return
        try:
            if wait:
                pending.wait()
            elif not pending.poll():
                return
        except BaseException:
            self._pending = None
            raise
        self._pending, self._saved = None, self.path / CHECKPOINTS / pending.path.name
        step = step_of(pending.path)
        for old in [path for path in self.checkpoints() if step_of(path) <= step][: -self._keep]:
            shutil.rmtree(old)

    def remove_unfinished(self) -> None:
        """Remove checkpoints that a kill has cut short; they were never whole, and may be large."""
        for path in (self.path / CHECKPOINTS).glob(f"{TEMPORARY}*"):
            if _is_checkpoint(path.name.removeprefix(TEMPORARY)):
                remove(path)

    def write_error(self, text: str) -> Path:
        """Keep what is too long for the screen."""
        write_atomically(self.path / ERROR, text)
        return self.path / ERROR

    def way_on(self) -> str:
        """What stands on the disk, and how to go on from it, in a line."""
        last = next(reversed(self.checkpoints()), None)
        state = f"the last checkpoint is {last.name}" if last else "there is no checkpoint yet"
        return f"{state}; continue with: aepo train --resume {self.path}"


def _is_checkpoint(name: str) -> bool:
    """Whether a checkpoint is called so; "step_2" and "step_best" are somebody else's."""
    match = _CHECKPOINT.fullmatch(name)
    return match is not None and name == step_name(int(match.group(1)))


def step_name(step: int) -> str:
    """What the checkpoint of a training step is called."""
    return f"step_{step:06d}"


def step_of(checkpoint: Path) -> int:
    """The training step in a checkpoint's name."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match.group(1))


def _check(checkpoint: Path, run: str) -> None:
    """Verify a checkpoint, and that it is of this run and of the step it is called by.

    Raises:
        CheckpointError: it is not what was written.
    """
    verify(checkpoint)
    try:
        info = json.loads((checkpoint / INFO).read_text(encoding="utf-8"))
        step, its_run = info["step"], info.get("run", "")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"it does not say of which step it is ({INFO})") from error
    if step != step_of(checkpoint):
        raise CheckpointError(f"it is a checkpoint of step {step!r}")
    if run and its_run != run:
        raise CheckpointError("it is a checkpoint of another run")


def _seal(text: str) -> str:
    return f"{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"
