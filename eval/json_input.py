"""JSON that anybody may have written: bounded, strict, and refused with one line that names file and field."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 1 << 24
"""Of a file with one value, or of a line in a file of many: what is larger would fill the memory."""
MAX_NAME_CHARS = 200

Check = Callable[[Any], None]
"""Refuses a value with a ValueError that says what it must be."""

_short = reprlib.Repr()
_short.maxstring = 80


def read_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: as `parse_object`, or a file larger than `MAX_JSON_BYTES`.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        raw = stream.read(MAX_JSON_BYTES + 1)
    return parse_object(raw, str(file))


def parse_object(raw: bytes, place: str) -> dict[str, Any]:
    """The object that a text in JSON is.

    Args:
        raw: The text in UTF-8.
        place: What a message calls it: a file, or a file and a line.

    Raises:
        ValueError: it is too large, no UTF-8, no JSON (NaN is none), nested too deeply, or no object; or a key stands
            in it twice.
    """
    if len(raw) > MAX_JSON_BYTES:
        raise ValueError(f"{place}: larger than {MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except RecursionError as error:
        raise ValueError(f"{place}: broken JSON (nested too deeply)") from error
    except ValueError as error:
        raise ValueError(f"{place}: broken JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected an object with names, found {shown(value)}")
    return value


def check_fields(values: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Check every field of an object.

    Args:
        values: The object.
        checks: What each of its fields must be; all of them have to be there, and no others.

    Raises:
        ValueError: names the first field that is missing, unknown or not what it must be.
    """
    having(checks)(values)
    for name in values:
        if name not in checks:
            raise ValueError(f"unknown field {shown(name)}")


@contextmanager
def within(place: object) -> Iterator[None]:
    """Put a file, or the name of a field, before what is wrong with the values in it.

    Raises:
        ValueError: what the block raises, so called.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def text(most: int) -> Check:
    """A text of so many characters at most, that UTF-8 can write."""

    def check(value: Any) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise ValueError(f"must be a text of at most {most} characters, got {shown(value)}")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"must be text without lone surrogates, got {shown(value)}") from error

    return check


def known(lookup: Callable[[str], object]) -> Check:
    """A name that `lookup` knows; it refuses others with a ValueError."""

    def check(value: Any) -> None:
        text(MAX_NAME_CHARS)(value)
        lookup(value)

    return check


def whole(low: int, high: int) -> Check:
    """A whole number from `low` to `high`."""

    def check(value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, got {shown(value)}")

    return check


def number(low: float, high: float, *, above: bool = False) -> Check:
    """A number from `low`, or above it, to `high`; neither NaN nor infinite."""
    start = "above" if above else "from"

    def check(value: Any) -> None:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        if not fits or (above and value == low):
            raise ValueError(f"must be a number {start} {low:g} up to {high:g}, got {shown(value)}")

    return check


def one_of(names: Collection[str]) -> Check:
    """One of some names."""

    def check(value: Any) -> None:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"must be one of {', '.join(sorted(names))}, got {shown(value)}")

    return check


def anything(value: Any) -> None:
    """Whatever it is."""


def optional(check: Check) -> Check:
    """The same, or null."""
    return lambda value: None if value is None else check(value)


def listed(check: Check, *, empty: bool = False) -> Check:
    """A list, every entry of a kind; with something in it unless it may be empty."""

    def check_all(value: Any) -> None:
        if not isinstance(value, Sequence) or isinstance(value, str) or not (value or empty):
            raise ValueError(f"must be a list{'' if empty else ' with something in it'}, got {shown(value)}")
        for entry in value:
            check(entry)

    return check_all


def mapped(check: Check) -> Check:
    """Names with values of a kind."""

    def check_all(value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"must be names with values, got {shown(value)}")
        for name, entry in value.items():
            text(MAX_NAME_CHARS)(name)
            with within(shown(name)):
                check(entry)

    return check_all


def having(must: Mapping[str, Check], may: Mapping[str, Check] | None = None) -> Check:
    """An object that has some fields, and may have some others; what else is in it is not looked at."""

    def check(value: Any) -> None:
        mapped(anything)(value)
        for name in must:
            if name not in value:
                raise ValueError(f"{name} is missing")
        for name, wanted in {**must, **(may or {})}.items():
            if name in value:
                with within(name):
                    wanted(value[name])

    return check


def shown(value: Any) -> str:
    """A value in a message: as Python writes it, without control characters, and short."""
    return _short.repr(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"key {shown(name)} twice")
        found[name] = value
    return found
