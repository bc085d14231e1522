"""Names that are looked up, with the nearest known one where they are misspelt. Imports nothing."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def check_arguments(name: str, given: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Refuse keys of a nested mapping that are no arguments of what it is handed to.

    Raises:
        ValueError: names the nearest arguments.
    """
    known = list(inspect.signature(function).parameters)
    for key in given:
        if key not in known:
            raise ValueError(unknown(name, key, [argument for argument in known if argument != "self"]))


def unknown(what: str, key: str, known: Iterable[str]) -> str:
    """The message about a key that is not known."""
    nearest = " or ".join(difflib.get_close_matches(key, list(known), n=3))
    return f"unknown {what} {key!r}" + (f"; did you mean {nearest}?" if nearest else "")
