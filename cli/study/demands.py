"""What a trial takes: completions of a step, checkpoints on the disk, and processes of Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aepo_rllib.cli.settings import RunSettings
    from aepo_rllib.training.config import TextRLConfig

CPU, GPU = "CPU", "GPU"
ALONE: Mapping[str, float] = {CPU: 1.0}
"""What a trial that starts no actors asks for."""
STOPS = 8
"""Checkpoints beyond those that are due: at the end of a run, and wherever it stopped before."""


def completions_per_step(config: TextRLConfig) -> int:
    """Completions that a step samples for all streams of a method, where it samples once."""
    streams = config.method().streams.values()
    return sum(math.ceil(stream.share * config.batch_size) for stream in streams) * config.group_size


def checkpoints_to_keep(settings: RunSettings, config: TextRLConfig, steps: int) -> int:
    """All of a run, so that its best one is there at its end, and some more: where it stops early it writes one, too.

    Raises:
        ValueError: none of them would have a validation score, or a model that can be evaluated.
    """
    every, interval = settings.checkpoint_every, config.evaluation_interval
    if not interval or math.lcm(every, interval) > steps:
        raise ValueError(
            f"checkpoint: best needs checkpoints with validation scores: evaluation_interval={interval} and "
            f"checkpoint_every={every} meet in none of {steps} steps; choose one that is a multiple of the other"
        )
    if not config.export_checkpoints:
        raise ValueError("checkpoint: best needs checkpoints with a model: export_checkpoints=False writes none")
    return steps // every + STOPS


def bundles_of(config: TextRLConfig) -> list[dict[str, float]]:
    """What a run asks of Ray: its own process first, then the actors that it starts."""
    request = config.algo_class.default_resource_request(config.to_dict())
    return [dict(bundle) for bundle in request.bundles]


def with_evaluation(bundles: Sequence[Mapping[str, float]], gpus: float) -> list[dict[str, float]]:
    """What Tune reserves for a trial.

    An evaluation on GPUs is a task beside the trial's process. It takes the place of actors that have gone by then, or
    has one of its own.

    Args:
        bundles: Of the run.
        gpus: Of the evaluation.
    """
    own, *actors = (dict(bundle) for bundle in bundles)
    room = any(actor.get(CPU, 0) >= 1 and actor.get(GPU, 0) >= gpus for actor in actors)
    return [own, *actors, *([] if room or not gpus else [{CPU: 1.0, GPU: gpus}])]
