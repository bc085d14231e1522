"""Names and types that are looked up, with the nearest known name where one is misspelt."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

PLAIN = (bool, int, float, str, types.NoneType)


def check_arguments(
    name: str, given: Mapping[str, Any], function: Callable[..., Any], *, reserved: Collection[str] = ()
) -> None:
    """Refuse what a function would not take as arguments: unknown names, and plain types of the wrong kind.

    Args:
        name: What the mapping's keys are called in a message.
        given: Arguments by name.
        function: What they are handed to; a constructor as `Class.__init__`.
        reserved: Arguments that somebody else gives.

    Raises:
        ValueError: names the nearest arguments, or the type.
    """
    known = [argument for argument in inspect.signature(function).parameters if argument not in ("self", *reserved)]
    hints = get_type_hints(function)
    for key, value in given.items():
        if key not in known:
            raise ValueError(unknown(name, key, known))
        if not _fits(value, hints.get(key)):
            kinds = " or ".join(kind.__name__ for kind in _kinds(hints[key]))
            raise ValueError(f"{name} {key!r}: {value!r} is a {type(value).__name__}, not {kinds}")


def unknown(what: str, key: str, known: Iterable[str]) -> str:
    """The message about a key that is not known."""
    return f"unknown {what} {key!r}{did_you_mean(key, known)}"


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """The end of a message: the nearest known keys; empty where none is near."""
    nearest = " or ".join(difflib.get_close_matches(key, list(known), n=3))
    return f"; did you mean {nearest}?" if nearest else ""


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a plain type, or union of them; other hints say nothing here."""
    kinds = _kinds(hint)
    if not all(kind in PLAIN for kind in kinds):
        return True
    return type(value) in kinds or (type(value) is int and float in kinds)
