"""What the package warns of during a run: on the screen, and in the run's `warnings.jsonl`, which its page shows."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from aepo_rllib.cli.run_folder import WARNINGS, RunFolder
from aepo_rllib.cli.saying import errors
from aepo_rllib.support.terminal import visible

LOGGER = logging.getLogger("aepo_rllib")


class KeptWarnings(logging.Handler):
    """Keeps and shows warnings.

    Args:
        folder: Where they are kept.
        console: Where they are shown; None where somebody else shows them.

    Attributes:
        step: The training step that they belong to.
    """

    def __init__(self, folder: RunFolder, console: Console | None) -> None:
        super().__init__(logging.WARNING)
        self.step = 1
        self._folder, self._console = folder, console

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a warning. A full disk is for the run's own records to tell."""
        text = record.getMessage()
        with contextlib.suppress(OSError):
            self._folder.append(WARNINGS, {"step": self.step, "text": text})
        if self._console is not None:
            self._console.print(visible(f"warning: {text}"), style="yellow")


@contextmanager
def kept_warnings(folder: RunFolder, console: Console) -> Iterator[KeptWarnings]:
    """Keep all warnings of the package during a block; they are shown, unless somebody handles them already."""
    kept = KeptWarnings(folder, None if LOGGER.hasHandlers() else errors() if console.quiet else console)
    LOGGER.addHandler(kept)
    try:
        yield kept
    finally:
        LOGGER.removeHandler(kept)
