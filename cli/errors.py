"""One clear line and exit code 2 for bad input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


class InputError(click.ClickException):
    """Something the user gave cannot be used."""

    exit_code = 2


@contextmanager
def input_errors() -> Iterator[None]:
    """Turn the library's complaints about input into one line each."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise InputError(" ".join(str(error).split())) from error
