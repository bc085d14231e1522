"""Rollout engines: token ids in, sampled completions out. Needs no ray."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from aepo_rllib.rollout.engine import Completion, FinishReason, Prompt, RolloutEngine, SamplingFilters
from aepo_rllib.rollout.request import Purpose, RolloutRequest
from aepo_rllib.rollout.shared import acquire_engine, release_engine
from aepo_rllib.support.arguments import check_arguments
from aepo_rllib.support.options import check_values
from aepo_rllib.support.packages import check_packages
from aepo_rllib.support.plugins import ENGINES_GROUP, Lazy, absolute, find, is_own

__all__ = [
    "ENGINES",
    "Completion",
    "FinishReason",
    "Prompt",
    "Purpose",
    "RolloutEngine",
    "RolloutRequest",
    "SamplingFilters",
    "acquire_engine",
    "check_engine_options",
    "check_installed",
    "engine_class",
    "engine_identity",
    "make_engine",
    "release_engine",
]

ENGINES = Lazy(
    {
        "transformers": "aepo_rllib.rollout.transformers:TransformersEngine",
        "vllm": "aepo_rllib.rollout.vllm:VLLMEngine",
    }
)
"""Engine classes by name, imported when chosen."""


def engine_class(name: str) -> type[RolloutEngine]:
    """The engine class of this name: of `ENGINES`, of an entry point, `module:class` or `path/to/file.py:class`.

    Raises:
        ValueError: there is none; names the known ones.
    """
    return _found(absolute(name) if isinstance(name, str) else name)


@lru_cache(maxsize=16)
def _found(name: str) -> type[RolloutEngine]:
    return find("rollout engine", name, ENGINES, ENGINES_GROUP, kind="class", base=RolloutEngine)


def engine_identity(name: str) -> str:
    """What tells the samples of an engine from those of others: its name, or for a class of the user's own its name
    and a digest of its source, wherever that lies.

    Raises:
        ValueError: as `engine_class`.
    """
    engine = engine_class(name)
    if not is_own(name):
        return name
    file = inspect.getsourcefile(engine)
    source = Path(file).read_bytes() if file else b""
    return f"{engine.__name__}-{hashlib.sha256(source).hexdigest()[:12]}"


def check_engine_options(what: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that an engine does not have; `what` they are called in the message.

    Raises:
        ValueError: unknown engine or option, a value that it cannot have, or an engine of the user's own that leaves
            out a method.
    """
    engine = engine_class(name)
    if missing := sorted(engine.__abstractmethods__):
        raise ValueError(f"rollout engine {name!r} does not define {', '.join(missing)}; see docs/extending/engine.md")
    check_arguments(what, options, engine.__init__, reserved=("model", "dtype", "device"))
    check_values(options, engine.OPTIONS, what)


def check_installed(name: str) -> None:
    """Refuse an engine that lacks a package here.

    Raises:
        ValueError: it does; names package and cure.
    """
    check_packages("engine", name, engine_class(name).NEEDS)


def make_engine(name: str, model: str, **options: Any) -> RolloutEngine:
    """An engine of this name with the weights of a Hugging Face folder or id."""
    return engine_class(name).from_pretrained(model, **options)
