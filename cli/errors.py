"""One clear line and exit code 2 for bad input."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from aepo_rllib.cli.saying import VERBOSE, loudness
from aepo_rllib.support.terminal import visible


class RunFailed(click.ClickException):
    """Ends a command that has begun its work, with one line on standard error."""

    exit_code = 1

    def __init__(self, message: object) -> None:
        super().__init__(visible(" ".join(str(message).split())))
        self._traced = loudness() == VERBOSE

    def show(self, file: IO[Any] | None = None) -> None:
        """As click's; `-v` shows where it comes from, before the line itself."""
        if self._traced and self.__cause__ is not None:
            click.echo(visible("".join(traceback.format_exception(self.__cause__)), lines=True), file=file, err=True)
        super().show(file)


class InputError(RunFailed):
    """Something the user gave cannot be used."""

    exit_code = 2


def check_unused(folder: Path, advice: str = "choose another folder") -> None:
    """Refuse to write into a folder that already holds something.

    Raises:
        ValueError: it does, or it is a file.
    """
    # Hidden files are what a process leaves that was killed before it wrote anything else.
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose another name")
    if folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir()):
        raise ValueError(f"{folder} is not empty; {advice}")


@contextmanager
def input_errors() -> Iterator[None]:
    """Turn the library's complaints about input into one line each."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise InputError(error) from error
