"""How a module that holds a Hugging Face model in a `TokenScorer` names the weights, and how the model itself does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

PREFIX = "scorer.model."
"""What torch puts before the names of the model in a module's `scorer`."""

Value = TypeVar("Value")


def hf_names(state: Mapping[str, Value]) -> dict[str, Value]:
    """A module's state with the names of the Hugging Face model inside it."""
    return {name.removeprefix(PREFIX): value for name, value in state.items()}
