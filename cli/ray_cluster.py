"""The Ray cluster of a run: a local one of its own, unless another is named. None is joined by chance."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aepo_rllib.cli.errors import InputError
from aepo_rllib.cli.saying import VERBOSE, loudness

ADDRESS = "RAY_ADDRESS"
TOKEN_FILE = Path("~/.ray/auth_token")


@contextmanager
def ray_cluster(tell: Callable[[str], None] = print, on_death: Callable[[str], None] = print) -> Iterator[None]:
    """Connect to the cluster that `RAY_ADDRESS` names, or start a local one that ends with the block.

    Args:
        tell: Called with a sentence that the user should see.
        on_death: Called, from a thread, with what has ended when a process of the local cluster ends by itself.

    Raises:
        InputError: the cluster cannot be reached or started.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get(ADDRESS) or "local"
    if address != "local" and os.environ.get("RAY_AUTH_MODE") != "token":
        tell(f"joining {address} without token authentication: whoever reaches its ports can run code on it")
    keep_token_private()
    level = logging.INFO if loudness() == VERBOSE else logging.ERROR
    try:
        # Named always: without an address Ray joins whatever /tmp/ray/ray_current_cluster points to, which anybody
        # on the machine may write.
        ray.init(address=address, include_dashboard=False, logging_level=level, log_to_driver=False)
    except (OSError, ConnectionError, RuntimeError, ValueError) as error:
        hint = "set RAY_TMPDIR to a folder that can be written" if address == "local" else f"is {ADDRESS} right?"
        raise InputError(
            f"cannot {'start Ray' if address == 'local' else f'join {address}'}: {error}; {hint}"
        ) from error
    keep_token_private()
    ended = threading.Event()
    for name, pid in (_processes() if address == "local" else {}).items():
        threading.Thread(target=_watch, args=(name, pid, ended, on_death), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        ray.shutdown()


def keep_token_private() -> None:
    """Take Ray's token away from other users of the machine: Ray writes it readable, and who has it may run code."""
    file = TOKEN_FILE.expanduser()
    if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        file.chmod(0o600)


def _watch(name: str, pid: int, ended: threading.Event, on_death: Callable[[str], None]) -> None:
    """Ray ends this very process, without a word, moments after its own are gone."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it is Ray's to reap
    if not ended.is_set():
        on_death(f"Ray's {name} (process {pid}) has ended")


def _processes() -> dict[str, int]:
    """Process ids of the local cluster's own processes, by name."""
    from aepo_rllib.rllib_seam import cluster_processes

    started = cluster_processes()
    return {name: pid for name in ("gcs_server", "raylet") for pid in started.get(name, ())}
