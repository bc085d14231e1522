"""YAML as users write it: safe, strict, and refused with one line that names file and line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

MAX_YAML_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-6 as a number, and refuses a key given twice instead of dropping the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no plain value", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# PyYAML follows YAML 1.1, where 1e-6 without a dot is a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


_OF_A_TAG = (LookupError, AttributeError, TypeError)
"""What the loader stumbles over where a value is not of the kind that its tag says, as `!!int` of nothing."""


def parse_yaml(text: str, place: str) -> Any:
    """The content of a YAML text.

    Args:
        text: The YAML.
        place: What a message calls it: a file, or an option with its value.

    Raises:
        ValueError: it is no YAML, or more than plain values, lists and mappings; names place and line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except _OF_A_TAG as error:
        raise ValueError(f"{place}: broken YAML (a value that is not what its tag says)") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date that is none, say
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "problem", None) or error
        raise ValueError(f"{place}{line}: broken YAML ({reason})") from error


def parse_mapping(text: str, place: str) -> dict[str, Any]:
    """The same for a mapping of names to values; nothing at all is an empty one.

    Raises:
        ValueError: as `parse_yaml`, or anything but such a mapping.
    """
    content = parse_yaml(text, place)
    if content is None:
        return {}
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{place}: expected a mapping of names to values, such as {{name: value}}")
    return dict(content)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a file.

    Raises:
        ValueError: as `parse_mapping`, a file that is no text, or one that is too large.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_YAML_BYTES + 1)
    if len(raw) > MAX_YAML_BYTES:
        raise ValueError(f"{path}: larger than {MAX_YAML_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    return parse_mapping(text, str(path))
