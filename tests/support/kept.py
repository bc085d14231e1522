"""What tests have to leave alone: Ray's lifetime, and processes unless they say so."""

from __future__ import annotations

import sys
from typing import Any

STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn")
started: list[str] = []
"""Processes that were started since somebody emptied this list: what Python's auditing calls them."""


def watch_processes() -> None:
    """Note every process that Python starts from now on; a hook stays for good, so call it once."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS:
            started.append(f"{event}{arguments[:2]}"[:200])

    sys.addaudithook(note)


def ray_runs() -> bool:
    """Whether this process is connected to a Ray cluster; does not import Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()
