"""Packages that only some parts need."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec


def check_packages(engine: str, needs: Mapping[str, str]) -> None:
    """Refuse a rollout engine that lacks a package here.

    Args:
        engine: Its name.
        needs: Packages, and how each is had.

    Raises:
        ValueError: one is missing; names it, and the cure.
    """
    for package, cure in needs.items():
        if find_spec(package) is None:
            raise ValueError(f"engine {engine!r} needs {package}, which is not installed: {cure}")
