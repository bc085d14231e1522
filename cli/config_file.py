"""`--config`: a YAML file, or one of the recipes that the package brings along."""

from __future__ import annotations

from pathlib import Path

import click

import aepo_rllib
from aepo_rllib.support.arguments import did_you_mean

RECIPE = "recipe:"
FOLDER = Path(aepo_rllib.__file__).parent / "recipes"


def recipes() -> dict[str, Path]:
    """Files of the recipes by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}


class ConfigFile(click.Path):
    """A file that exists, or recipe:NAME."""

    name = "file"

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True, dir_okay=False)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The file behind the option's value."""
        if isinstance(value, str) and value.startswith(RECIPE):
            name, known = value.removeprefix(RECIPE), recipes()
            if name not in known:
                self.fail(f"no recipe {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}", param, ctx)
            return known[name]
        return super().convert(value, param, ctx)  # type: ignore[arg-type, return-value]
