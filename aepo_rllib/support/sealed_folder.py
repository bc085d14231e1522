"""The envelope around a checkpoint: it appears whole or not at all, and proves to be what was written.

RLlib writes its parts straight into the final folder and skips a part that is missing when it restores, so that half a
checkpoint comes back without an error, and with random weights. Here a checkpoint is written beside its place, a
manifest with size and SHA-256 of each file comes last, all are brought to the disk, and one rename makes it appear.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST, TEMPORARY, REPLACED = "manifest.json", ".tmp_", ".old_"
FORMAT = 3
"""Number of what reads a checkpoint: 1 named other modules, 2 held one learner's state as a pickle."""
_BLOCK_BYTES = 1 << 20


class CheckpointError(ValueError):
    """A checkpoint is not what was written; the message names the file and what is wrong with it."""


class OtherFormatError(CheckpointError):
    """A checkpoint is whole, but another version wrote it; the message says what its weights are still good for."""


class AppearingFolder:
    """A folder that is written under another name and takes its place when it is whole.

    Args:
        final: The folder that appears.

    Attributes:
        path: Where it is written.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.path, self._replaced = (final.with_name(f"{mark}{final.name}") for mark in (TEMPORARY, REPLACED))
        remove(self.path)
        self.path.mkdir(parents=True)

    def appear(self, *, manifest: bool = True, known: Mapping[str, tuple[int, str]] | None = None) -> None:
        """Bring it to the disk, then to its place.

        Args:
            manifest: Seal it with one.
            known: Size and digest of files whose writers have told; others are read for theirs.
        """
        if manifest:
            seal(self.path, known or {})
        _sync_all(self.path)
        if os.path.lexists(self.final):
            remove(self._replaced)
            self.final.rename(self._replaced)
        self.path.rename(self.final)
        _sync(self.final.parent)
        remove(self._replaced)

    def abandon(self) -> None:
        """Remove what has been written."""
        remove(self.path)


@contextmanager
def appearing_folder(final: Path, *, manifest: bool = True) -> Iterator[Path]:
    """A temporary folder that takes the place of `final` when the block ends well; else it is removed.

    Args:
        final: The folder that appears.
        manifest: Seal it with one.

    Raises:
        OSError: it cannot be written.
    """
    folder = AppearingFolder(final)
    try:
        yield folder.path
        folder.appear(manifest=manifest)
    except BaseException:
        folder.abandon()
        raise


def remove(path: Path) -> None:
    """Remove a folder with all that is in it; of a link only the link. Nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def seal(folder: Path, known: Mapping[str, tuple[int, str]] | None = None) -> None:
    """Write the manifest of a folder's files.

    Args:
        folder: The folder.
        known: Size and digest of files whose writers have told.

    Raises:
        OSError: one of these is not there, or of another size.
    """
    files = {}
    for name, file in ((file.relative_to(folder).as_posix(), file) for file in _files(folder)):
        size, digest = (known or {}).get(name) or (file.stat().st_size, sha256(file))
        if file.stat().st_size != size:
            raise OSError(f"{file} has {file.stat().st_size} bytes, and {size} were written")
        files[name] = {"bytes": size, "sha256": digest}
    if lost := sorted({*(known or {})} - {*files}):
        raise OSError(f"{folder / lost[0]} was written by a learner, and is not here: do all learners see this folder?")
    (folder / MANIFEST).write_text(_as_text({"format": FORMAT, "files": files}), encoding="utf-8")


def verify(folder: Path) -> None:
    """Check a folder against its manifest. Reads every byte, unpickles none.

    Raises:
        CheckpointError: no or no readable manifest, or a file that is missing, cut, changed or not named there.
        OtherFormatError: another version wrote it.
    """
    expected = read_manifest(folder)
    found = {file.relative_to(folder).as_posix() for file in _files(folder)} - {MANIFEST}
    # Hidden ones are other programs' own: Ray's notes, a file manager's.
    if foreign := sorted(name for name in found - expected.keys() if not Path(name).name.startswith(".")):
        raise CheckpointError(f"{folder / foreign[0]} is no part of it")
    for name, (size, digest) in expected.items():
        file = folder / name
        if name not in found:
            raise CheckpointError(f"{file} is missing")
        if file.stat().st_size != size:
            raise CheckpointError(f"{file} has {file.stat().st_size} bytes instead of {size}")
        if sha256(file) != digest:
            raise CheckpointError(f"{file} has been changed: its SHA-256 is not the manifest's")


def read_manifest(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and digest of every file that the manifest names.

    Raises:
        CheckpointError: there is none, or it is damaged.
        OtherFormatError: another version wrote it.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {MANIFEST}: it was never finished, or the file was lost") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST} is damaged ({type(error).__name__})") from error
    if text != _as_text(manifest):
        raise CheckpointError(f"{folder / MANIFEST} is damaged")
    if (found := manifest.get("format", 0)) != FORMAT:
        raise OtherFormatError(_other_format(folder, found))
    return expected


def _other_format(folder: Path, found: Any) -> str:
    """What to do with a checkpoint of another format."""
    age = "a newer" if isinstance(found, int) and found > FORMAT else "an older"
    model = folder / "huggingface"
    return (
        f"{folder} was written by {age} version of aepo-rllib (checkpoint format {found}; this one reads {FORMAT}), so "
        f"that no run can go on from it here; its weights can be evaluated, aepo eval {model}, and trained further, "
        f"aepo train --model {model}"
    )


def _as_text(manifest: dict[str, Any]) -> str:
    """The one spelling of a manifest, so that any changed byte shows."""
    return json.dumps(manifest, indent=1) + "\n"


def sha256(file: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sync_all(folder: Path) -> None:
    """Bring all files of a folder to the disk, and the lists of their names."""
    for path in (folder, *folder.rglob("*")):
        _sync(path)


def _sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
