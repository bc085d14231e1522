"""Which suites there are, read from their YAML files. Cheap: no lm-eval, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from aepo_rllib.envs.problems import DATA_DIR_VARIABLE, find_file

SHIPPED_FOLDER = Path(__file__).parent / "shipped"
"""What stock lm-eval takes as `--include_path`."""


@dataclass(frozen=True)
class Suite:
    """A suite, or a group of suites.

    Attributes:
        name: Of the lm-eval task or group; its file is called so.
        version: Grows when scores are no longer comparable; the changes stand in docs/suites.md.
        members: Names of a group's suites; a suite has none.
        problems: How many problems the suite was published with, where that is fixed.
        data: Keyword arguments of `aepo_rllib.eval.data.load_docs`.
    """

    name: str
    version: str
    members: tuple[str, ...]
    problems: int | None
    data: Mapping[str, Any]

    def origin(self) -> str:
        """Where its problems would be read from now."""
        if "source" in self.data:
            return "embedded"
        if path := find_file(self.data["file"]):
            return str(path)
        missing = f"{self.data['file']}.jsonl in {DATA_DIR_VARIABLE}"
        return f"{self.data['hub']} on Hugging Face, or {missing}" if "hub" in self.data else missing


@lru_cache(maxsize=1)
def all_suites() -> Mapping[str, Suite]:
    """Every suite and group that ships with this package, by name."""
    return {file.stem: _read(file) for file in sorted(SHIPPED_FOLDER.glob("*.yaml"))}


def suite_names() -> list[str]:
    """Names of all suites and groups."""
    return list(all_suites())


def expand(names: Sequence[str]) -> list[str]:
    """The suites behind these names of suites and groups, each once."""
    suites = all_suites()
    return list(dict.fromkeys(member for name in names for member in suites[name].members or (name,)))


class _Loader(yaml.SafeLoader):
    """Leaves lm-eval's references to functions as they are written."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]


def read_config(file: Path) -> dict[str, Any]:
    """What stands in a task's YAML file; nothing that it names is loaded or included.

    Raises:
        ValueError: it is no such file.
    """
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML file of a task ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} is no YAML file of a task (it holds no names with values)")
    return config


def _read(file: Path) -> Suite:
    config = read_config(file)
    metadata = config["metadata"]
    return Suite(
        name=config.get("group") or config["task"],
        version=str(metadata["version"]),
        members=tuple(config["task"]) if "group" in config else (),
        problems=metadata.get("problems"),
        data=config.get("dataset_kwargs", {}),
    )
