"""The package's files, as pyproject.toml lays them out: three top-level folders install inside `aepo_rllib`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "aepo_rllib": "aepo_rllib",
    "envs": "aepo_rllib.envs",
    "eval": "aepo_rllib.eval",
    "cli": "aepo_rllib.cli",
}
"""Top-level folders, and the packages that they install as."""


def package_files() -> list[Path]:
    """All that should be installed, relative to the root."""
    files = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    return [file for file in files if (ROOT / file).is_file() and "__pycache__" not in file.parts]


def module_of(file: Path) -> str:
    """The name under which a Python file is imported, from its path relative to the root."""
    folder, *parts = file.with_suffix("").parts
    return ".".join([FOLDERS[folder], *parts]).removesuffix(".__init__")


MODULES = {module_of(file): ROOT / file for file in package_files() if file.suffix == ".py"}
"""Every module of the package, and its file."""
