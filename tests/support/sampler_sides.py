"""Env runners and the side that asks them, without an algorithm around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.rllib.env.env_runner_group import EnvRunnerGroup

from aepo_rllib.columns import Columns
from aepo_rllib.sampling.sampler_side import Sampled, SamplerSide


@contextmanager
def side_of(config: Any, **callables: Any) -> Iterator[SamplerSide]:
    """A real group of env runners, and the side that asks them."""
    config.evaluation(evaluation_interval=None).validate()
    group = EnvRunnerGroup(config=config)
    side = SamplerSide(group, config, **{"restore": lambda: None, "renew": lambda runners: None, **callables})
    try:
        yield side
    finally:
        group.stop()
        group.local_env_runner.stop()


def tokens(sampled: Sampled) -> list[list[list[list[int]]]]:
    """Completion tokens by request, slot and sample."""
    return [
        [
            [episode.get_extra_model_outputs(Columns.COMPLETION_IDS, -1).tolist() for episode in group]
            for group in groups.episodes_PG
        ]
        for groups in sampled.groups
    ]
