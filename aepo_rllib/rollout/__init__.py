"""Rollout engines: token ids in, sampled completions out. Needs no ray."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from aepo_rllib.rollout.engine import Completion, FinishReason, Prompt, RolloutEngine, SamplingFilters
from aepo_rllib.rollout.request import RolloutRequest, Stream
from aepo_rllib.rollout.shared import acquire_engine, release_engine
from aepo_rllib.support.arguments import check_arguments
from aepo_rllib.training.options import check_values

__all__ = [
    "ENGINES",
    "Completion",
    "FinishReason",
    "Prompt",
    "RolloutEngine",
    "RolloutRequest",
    "SamplingFilters",
    "Stream",
    "acquire_engine",
    "check_engine_options",
    "engine_class",
    "make_engine",
    "release_engine",
]

ENGINES = {
    "transformers": "aepo_rllib.rollout.transformers:TransformersEngine",
    "vllm": "aepo_rllib.rollout.vllm:VLLMEngine",
}
"""Engine classes by name, imported when chosen."""


def engine_class(name: str) -> type[RolloutEngine]:
    """The engine class of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in ENGINES:
        raise ValueError(f"unknown rollout engine {name!r}; choose one of {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    return getattr(import_module(module), attribute)


def check_engine_options(what: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that an engine does not have; `what` they are called in the message.

    Raises:
        ValueError: unknown engine or option, or a value that it cannot have.
    """
    engine = engine_class(name)
    check_arguments(what, options, engine.__init__, reserved=("model", "dtype", "device"))
    check_values(options, engine.OPTIONS, what)


def make_engine(name: str, model: str, **options: Any) -> RolloutEngine:
    """An engine of this name with the weights of a Hugging Face folder or id."""
    return engine_class(name).from_pretrained(model, **options)
