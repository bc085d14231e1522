"""Groups of learners that a batch is spread over, and the steps that they are compared in."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
import ray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from aepo_rllib import AEPOConfig
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.passes import PassLimit, passes_of
from aepo_rllib.experience.rows import Row, RowGroups
from aepo_rllib.learning.optimizer_step import take_step
from aepo_rllib.objectives.parts import MAIN

ASKED = [([5, 6, 7], [8, 9, 10, 11]), ([3, 4], [5, 6]), ([9], [1])]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test's helpers


class Layout(NamedTuple):
    """How a batch is spread."""

    learners: int
    sharding: str
    limit: PassLimit = PassLimit()
    dtype: str = "float64"
    checkpoint: bool = False


def marked(layouts: Iterable[str], quick: Collection[str]) -> list[Any]:
    """Names of layouts as a fixture's params; all but the quick ones are left to the slow tests."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in layouts]


def batch(step: int) -> dict[str, RowGroups]:
    """Both streams; lengths from 1 on, some steps with a single group, so that a learner has no row."""
    generator = np.random.default_rng(step)

    def row(prompt: list[int], place: int) -> Row:
        tokens = int(generator.integers(1, 17))
        logp = (-np.abs(generator.standard_normal(tokens)) - 2).astype(np.float32)
        advantage = float(generator.integers(2)) if place else float(generator.standard_normal())
        return Row(prompt, generator.integers(2, 32, tokens), logp, advantage, place, tempered=bool(place))

    def group(place: int) -> list[Row]:
        prompt = generator.integers(5, 32, generator.integers(4, 12)).tolist()
        return [row(prompt, place) for _ in range(3)]

    return {name: [group(place) for _ in range(1 + step % 4)] for place, name in enumerate((MAIN, "tempered"))}


def build(layout: Layout, model: str, *, clip: float = 2.0, **options: Any) -> tuple[Any, Any]:
    """A config, with further options, and its learners."""
    config = AEPOConfig().language_model(model_path=model, dtype=layout.dtype, share_prompts=layout.limit.share_prompts)
    config = config.update_from_dict(options)
    config = config.training(lr=1e-3, grad_clip=clip, weight_decay=0.01, checkpoint_activations=layout.checkpoint)
    config = config.learners(num_learners=layout.learners, num_cpus_per_learner=1, learner_sharding=layout.sharding)
    spec = MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: config.get_default_rl_module_spec()})
    return config, config.build_learner_group(rl_module_spec=spec)


def take(group: Any, config: Any, layout: Layout, step: int) -> float:
    """One optimizer step; the norm of its gradient before clipping."""
    learners = max(layout.learners, 1)
    [shares] = deal(batch(step), config.method(), Mean("token-mean", 16), updates=1, learners=learners)
    taken = take_step(group, passes_of(shares, layout.limit), env_steps=0, step=step)
    return float(taken.results[0][DEFAULT_MODULE_ID]["gradients_default_optimizer_global_norm"].peek())


def weights_of(group: Any) -> dict[str, np.ndarray]:
    """The learners' weights, copied."""
    return {name: value.copy() for name, value in group.get_weights()[DEFAULT_MODULE_ID].items()}


def bytes_of(learner: Any) -> tuple[int, int]:
    """Of weights, and of Adam's moments, that this process holds."""

    def held(tensor: Any) -> int:
        return (tensor.to_local() if hasattr(tensor, "to_local") else tensor).nbytes

    optimizer = learner.optimizer
    moments = [m for state in optimizer.state.values() for m in state.values() if m.dim()]
    return sum(map(held, learner.parameters())), sum(map(held, moments))
