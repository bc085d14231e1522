"""A console whose reader may go away."""

from __future__ import annotations

from rich.console import Console

from aepo_rllib.cli.stopping import go_silent


class Screen(Console):
    """As rich's, but when nobody reads any more (`aepo train | head`) the run goes on without words.

    rich ends the program there, wherever it is: in the middle of an optimizer step or of a checkpoint.
    """

    def on_broken_pipe(self) -> None:
        """Write no more."""
        self.quiet = True
        go_silent()
