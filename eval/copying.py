"""Copying an exported model out of a run that anybody may have made: nothing from outside of the run comes along."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = ".export.tmp"
LAST = "config.json"
"""Without it a folder is no model, so it comes last."""


def copy_model(source: Path, folder: Path, *, within: Path) -> None:
    """Copy the regular files of a model's folder, subfolders included.

    A link is followed where it leads to a file inside of the run, as in caches of the model hub. All files are looked
    at before the first is copied, and copied before the first appears in the folder.

    Args:
        source: The model's folder, in the run.
        folder: Where to; it is made, or has nothing in it but hidden files.
        within: The run.

    Raises:
        ValueError: something in the folder is neither file nor folder, or a link that leads out of the run, to a folder
            or nowhere; names it.
        OSError: a file cannot be read or written. What had been copied is removed.
    """
    root = within.resolve()
    copied = dict(_files(_inside(source, root), root))
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for name, file in copied.items():
            _copy(file, unfinished / name)
        for entry in sorted(unfinished.iterdir(), key=lambda entry: entry.name == LAST):
            entry.rename(folder / entry.name)
        unfinished.rmdir()
    except BaseException:
        shutil.rmtree(folder if made else unfinished, ignore_errors=True)
        raise


def _files(folder: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """Every file in a folder: its path within it, and where its content lies."""
    waiting = [folder]
    while waiting:
        for entry in sorted(waiting.pop().iterdir()):
            file = _inside(entry, root)
            mode = file.stat().st_mode
            if stat.S_ISREG(mode):
                yield entry.relative_to(folder), file
            elif stat.S_ISDIR(mode) and not entry.is_symlink():
                waiting.append(entry)
            else:
                kind = "a link to a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
                raise ValueError(f"{entry} is {kind}, and no part of a model; remove it")


def _inside(path: Path, root: Path) -> Path:
    """Where a path leads, which has to be inside of the run."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, up to Python 3.12
        if not path.is_symlink():
            raise
        raise ValueError(f"{path} is a link that leads nowhere; remove it") from error
    if not real.is_relative_to(root):
        raise ValueError(f"{path} is a link out of {root}, to {real}; put a copy of that in its place, or remove it")
    return real


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Looked at once more, for somebody may have put a link or a pipe there in the meantime.
    source = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(source, "rb") as content, target.open("xb") as copy:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise ValueError(f"{file} was replaced while it was copied")
        shutil.copyfileobj(content, copy, 1 << 20)
