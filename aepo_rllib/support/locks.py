"""Files that several processes, or a later one, will look at: locks and atomic writing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK, OWNER = ".lock", ".lock-owner"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems answer that have no locks: Lustre without `-o flock`, some NFS."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder during a block; the hold ends with the process, however it ends.

    Where the file system has no locks, a file that only one process can create stands in. It outlives a process that
    is killed: on the same machine that is noticed, on another the file has to be removed by hand.

    Raises:
        ValueError: another process holds it; names that one.
        OSError: the folder cannot be written, or its lock is a link.
    """
    # No link: it would be somebody else's file that is emptied below.
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{folder} is in use by {file.read().strip() or 'another process'}") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            with _owned(folder):
                yield
            return
        file.truncate(0)
        file.write(f"{_me()}\n")
        file.flush()
        yield


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """The same without locks.

    Raises:
        ValueError: another process holds it, or did when it was killed.
        OSError: the folder cannot be written.
    """
    file = folder / OWNER
    if _is_dead(file):
        file.unlink(missing_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError as error:
        owner = file.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        raise ValueError(f"{folder} is in use by {owner}; if that has ended, remove {file}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(f"{_me()}\n")
        yield
    finally:
        file.unlink(missing_ok=True)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _is_dead(file: Path) -> bool:
    """Whether a lock's owner was a process of this machine that is no more."""
    try:
        words = file.read_text(encoding="utf-8", errors="replace").split()
    except FileNotFoundError:
        return False
    if len(words) != 4 or words[3] != socket.gethostname() or not words[1].isdecimal():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def write_atomically(file: Path, text: str) -> None:
    """Replace a file as a whole, or not at all.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
