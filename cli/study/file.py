"""A study's YAML file with its lines: every complaint about it names file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from aepo_rllib.study.study import shipped
from aepo_rllib.support.arguments import did_you_mean
from aepo_rllib.support.yaml_input import read_mapping


def find_study(text: str) -> Path:
    """The file that is meant: one that exists, or a study that the package brings along.

    Raises:
        ValueError: neither; names what there is.
    """
    known = shipped()
    if text in known:
        return known[text]
    if Path(text).is_file():
        return Path(text)
    raise ValueError(f"there is no file and no study {text!r}{did_you_mean(text, known)}; there are {', '.join(known)}")


class StudyFile:
    """A study's file with the lines that its keys stand on.

    Args:
        path: Of the file.

    Raises:
        ValueError: it is no YAML mapping; names file and line.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.values = path, read_mapping(path)
        self._root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)

    def line(self, *keys: str) -> int:
        """The line of a nested key, or of the innermost one of its path that stands there."""
        node, line = self._root, 1
        for key in keys:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            found = next(((name, value) for name, value in pairs if name.value == key), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line

    @contextmanager
    def within(self, *keys: str) -> Iterator[None]:
        """What is refused during the block is about this nested key, or one inside it that the message names first.

        Raises:
            ValueError: with file, line and key before the message.
        """
        try:
            yield
        except ValueError as error:
            inside = self._mentioned(keys, str(error))
            line = self.line(*keys, inside) if inside else self.line(*keys)
            place = f"{'.'.join(keys)}: " if keys else ""
            raise ValueError(f"{self.path}:{line}: {place}{error}") from error

    def _mentioned(self, keys: tuple[str, ...], message: str) -> str | None:
        """The key inside a nested mapping that a message begins with, or speaks of first."""
        value: Any = self.values
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        words = re.findall(r"\w+", message)
        inside = [str(key) for key in value] if isinstance(value, Mapping) else []
        return min((key for key in inside if key in words), key=words.index, default=None)
