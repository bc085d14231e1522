"""A run that fails ends with one line: what has happened, what stands on the disk, and how to go on."""

from __future__ import annotations

import traceback

import click

from aepo_rllib.cli.errors import RunFailed
from aepo_rllib.cli.run_folder import RunFolder
from aepo_rllib.support import plugins
from aepo_rllib.support.terminal import visible


def failure(error: BaseException, folder: RunFolder, *, cause: str | None = None) -> click.ClickException:
    """The line for an error that ended a run; its traceback is kept in the run's error.txt where the disk allows it.

    Args:
        error: What was raised.
        folder: Of the run.
        cause: What is known to be behind it; default what the error says.
    """
    try:
        kept = f" (traceback: {folder.write_error(''.join(traceback.format_exception(error)))})"
    except OSError:
        kept = ""
    return RunFailed(f"{cause or cause_of(error)}{kept}; {folder.way_on()}")


def cause_of(error: BaseException) -> str:
    """What has happened, in a line: our own errors say it all, others need their type."""
    cause = getattr(error, "cause", None)  # what a Ray task raised
    error = cause if isinstance(cause, Exception) else error
    text = next((line.strip() for line in visible(error, lines=True).splitlines() if line.strip()), "")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {visible(error.filename)}" if error.filename else error.strerror
    module = type(error).__module__
    if module.startswith("aepo_rllib") and not module.startswith(plugins.__name__ + "."):  # files of the user's
        return visible(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
