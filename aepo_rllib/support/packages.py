"""Packages that only some parts need."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec


def check_packages(what: str, name: str, needs: Mapping[str, str]) -> None:
    """Refuse a part that lacks a package here.

    Args:
        what: Kind of part.
        name: The part's.
        needs: Packages, and how each is had.

    Raises:
        ValueError: one is missing; names it, and the cure.
    """
    for package, cure in needs.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:  # a folder of that name is none, such as the one that wandb leaves
            raise ValueError(f"{what} {name!r} needs {package}, which is not installed: {cure}")
