"""Folders have one owner at a time, on every file system, and files change as a whole."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from aepo_rllib.support.locks import LOCK, OWNER, claimed, write_atomically

HOLDER = "import sys, time\nfrom pathlib import Path\nfrom aepo_rllib.support.locks import claimed\n{before}\n"
HOLDER += "with claimed(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
WITHOUT_LOCKS = """
import errno, fcntl
def refuse(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = refuse
"""


def hold(folder, before=""):
    """Another process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER.format(before=before), folder], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.fixture(params=[False, True], ids=["locks", "no locks"])
def without_locks(request, monkeypatch):
    """Both kinds of file systems; a real one without locks is not at hand, so its answer is put in."""
    if request.param:

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
    return WITHOUT_LOCKS if request.param else ""


@pytest.mark.process
def test_a_folder_is_held_by_one_and_free_after_a_kill(tmp_path, without_locks):
    holder = hold(tmp_path, without_locks)
    try:
        with pytest.raises(ValueError, match=f"in use by process {holder.pid} on"), claimed(tmp_path):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    for _ in range(2):
        with claimed(tmp_path):
            pass


def test_an_owner_on_another_machine_is_not_taken_for_dead(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / OWNER).write_text("process 999999999 on elsewhere\n")
    with pytest.raises(ValueError, match=r"on elsewhere; if that has ended, remove .*lock-owner"), claimed(tmp_path):
        pass
    assert (tmp_path / OWNER).is_file()


def test_other_errors_of_a_lock_are_errors(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output error"), claimed(tmp_path):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / LOCK).symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"), claimed(folder):
        pass
    assert mine.read_text() == "precious"


@pytest.mark.process
def test_a_file_that_cannot_be_replaced_stands_and_nothing_lies_about(tmp_path):
    """A limit on file sizes, as a full disk: only the first bytes can be written."""
    file = tmp_path / "file"
    file.write_text("old")
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom aepo_rllib.support.locks import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\nwrite_atomically(Path(sys.argv[1]), 'new' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"
    write_atomically(file, "new")
    assert file.read_text() == "new"
