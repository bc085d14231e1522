"""Small runs that several test files take."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aepo_rllib import AEPOConfig, metrics

STEPS = 2
"""Of the reference run before its checkpoint."""


def small(config: Any, **settings: Any) -> Any:
    """The configuration with a batch of 6 x 4, seeded; `settings` are options by name."""
    tempers = isinstance(config, AEPOConfig) and metrics.TEMPERED in config.method().streams
    return (
        config.debugging(seed=3)
        .training(batch_size=6, group_size=4)
        .evaluation(evaluation_interval=10, evaluation_duration=25)
        .update_from_dict({"tempered_share": 1.0, **settings} if tempers else settings)
    )


def weights(algo: Any) -> dict[str, np.ndarray]:
    """The learner's weights by name."""
    state = algo.learner_group.get_state(components="learner/rl_module")
    return state["learner"]["rl_module"]["default_policy"]


def figures(result: dict[str, Any]) -> dict[str, float]:
    """What a step computed, without wall times."""
    sections = (metrics.MAIN, metrics.TEMPERED, metrics.CONTROL)
    return {f"{s}/{k}": float(v) for s in sections for k, v in result.get(s, {}).items()}


@dataclass
class Reference:
    """An AEPO run in one process, its checkpoint, and the step after it.

    Attributes:
        algo: The algorithm after the following step, alive; tests leave it as they find it.
        results: Of every step before the checkpoint, as RLlib gives them.
        weights: At the checkpoint.
        own_state: The algorithm's, at the checkpoint.
        path: The checkpoint.
        evaluation: Of the weights at the checkpoint.
        following: The figures of the step after it.
    """

    algo: Any
    results: list[dict[str, Any]]
    weights: dict[str, np.ndarray]
    own_state: dict[str, Any]
    path: str
    evaluation: dict[str, Any]
    following: dict[str, float]


def reference_config(**settings: Any) -> AEPOConfig:
    """What the reference run is made of."""
    return small(AEPOConfig(), entropy_window=2, **settings)


def reference_run(folder: Path) -> Reference:
    """Train, save, evaluate, and train on."""
    algo = reference_config().build_algo()
    results = [algo.train() for _ in range(STEPS)]
    saved_weights, own_state = weights(algo), copy.deepcopy(algo.own_state())
    path = algo.save_to_path(str(folder / "checkpoint"))
    evaluation = algo.evaluate()["env_runners"]
    following = figures(algo.train())
    return Reference(algo, results, saved_weights, own_state, path, evaluation, following)
