"""Engines of which a process can hold one are shared by everyone in it who wants the same."""

from __future__ import annotations

from typing import Any

from aepo_rllib.rollout.engine import RolloutEngine

_held: dict[tuple[Any, ...], tuple[RolloutEngine, int]] = {}


def acquire_engine(engine_type: type[RolloutEngine], model: str, **options: Any) -> RolloutEngine:
    """An engine, which `release_engine` gives back.

    A training and an evaluation env runner in one process follow the same policy, so they may sample with one engine.

    Raises:
        RuntimeError: this process holds another engine of a kind that allows one only.
        aepo_rllib.models.hf.ModelError: the model cannot be read.
    """
    if not engine_type.one_per_process:
        return engine_type.from_pretrained(model, **options)
    wanted = (engine_type, model, repr(sorted(options.items())))
    engine, users = _held.get(wanted, (None, 0))
    if engine is None:
        if any(kind is engine_type for kind, *_ in _held):
            raise RuntimeError(f"this process holds a {engine_type.__name__} of another model or with other options")
        engine = engine_type.from_pretrained(model, **options)
    _held[wanted] = (engine, users + 1)
    return engine


def release_engine(engine: RolloutEngine) -> None:
    """Close an engine, unless others still use it."""
    for wanted, (held, users) in list(_held.items()):
        if held is engine:
            if users > 1:
                _held[wanted] = (held, users - 1)
                return
            del _held[wanted]
    engine.close()
