"""Last words: a small process beside a run that says what stands on the disk if the run is killed.

Nothing in a process can speak when the kernel kills it for want of memory, or when Ray ends it because its own
processes have died. `python -m aepo_rllib.cli.last_words RUN` waits for the end of its input: after an empty line all
is in order; without one the run was killed. Other lines are causes, told at once.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aepo_rllib.cli.run_folder import RunFolder
from aepo_rllib.support.terminal import visible


@contextmanager
def last_words(folder: RunFolder) -> Iterator[Callable[[str], None]]:
    """Have somebody speak for a run that is killed during the block.

    Yields:
        What tells a cause of the end that is near; it can be called from any thread.
    """
    command = [sys.executable, "-m", __name__, str(folder.path)]
    # In a session of its own Ctrl-C and hang-ups do not reach it.
    speaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert speaker.stdin is not None
    pipe = speaker.stdin.fileno()

    def tell(cause: str) -> None:
        with contextlib.suppress(OSError):
            os.write(pipe, f"{cause}\n".encode())

    try:
        speaker.wait()  # it goes on as a grandchild: when Ray ends a process it kills its children first
        yield tell
    finally:  # whatever was raised, there is a process to tell of it
        tell("")
        speaker.stdin.close()


def main() -> None:
    """Speak for the run whose folder is the first argument."""
    if os.fork():
        os._exit(0)
    folder, told = RunFolder(Path(sys.argv[1])), False
    for line in sys.stdin:
        if not line.strip():
            return
        _say(line, folder)
        told = True
    if not told:
        _say("the run was killed, by the system for want of memory or by somebody", folder)


def _say(cause: str, folder: RunFolder) -> None:
    with contextlib.suppress(OSError):  # the terminal may have gone, too
        print(visible(f"{cause.strip()}; {folder.way_on()}"), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
