"""Algorithms spread over processes, and what is seen of them while they train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from aepo_rllib import AEPOConfig
from aepo_rllib.columns import Columns
from aepo_rllib.models.state_names import PREFIX
from aepo_rllib.rollout import make_engine
from tests.support.small_runs import STEPS, small, weights

POLICY = "default_policy"


@dataclass
class Built:
    """A layout's algorithm after its first steps, and what was seen of them.

    Attributes:
        algo: The algorithm.
        results: Of every step.
        weights: After the last of them.
        batches: Of every optimizer step: the learners' columns.
        asleep: Before every call of the learners: whether it was an optimizer step, and which engines slept.
    """

    algo: Any
    results: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    batches: list[list[dict[str, np.ndarray]]] = field(default_factory=list)
    asleep: list[tuple[bool, list[bool]]] = field(default_factory=list)

    def sleepers(self) -> list[bool]:
        """Of every engine that there is, evaluation's too, whether it sleeps."""
        groups = (self.algo.env_runner_group, self.algo.eval_env_runner_group)
        states = [state for group in groups for state in group.foreach_env_runner(lambda runner: runner.held.asleep)]
        return [state for state in states if state is not None]

    def train(self, steps: int) -> None:
        """Train, and note what the learners are called with, and who sleeps meanwhile."""
        group = self.algo.learner_group
        update, ask = group.update, group.foreach_learner

        def watched_update(*, training_data: Any, **kwargs: Any) -> Any:
            self.asleep.append((True, self.sleepers()))
            self.batches.append(columns_of(training_data))
            return update(training_data=training_data, **kwargs)

        def watched_ask(*args: Any, **kwargs: Any) -> Any:
            self.asleep.append((False, self.sleepers()))
            return ask(*args, **kwargs)

        group.update, group.foreach_learner = watched_update, watched_ask
        self.results = [self.algo.train() for _ in range(steps)]
        group.update, group.foreach_learner = update, ask
        self.weights = weights(self.algo)

    def named_as_hugging_face_does(self) -> dict[str, torch.Tensor]:
        """The learner's weights by the names of the model's state dict."""
        return {name.removeprefix(PREFIX): torch.tensor(value) for name, value in weights(self.algo).items()}

    def engine(self) -> Any:
        """An engine of this process, with the learner's weights."""
        engine = make_engine("transformers", "embedded")
        engine.update_weights(self.named_as_hugging_face_does(), version=1)
        return engine


def columns_of(training_data: Any) -> list[dict[str, np.ndarray]]:
    """The columns of an optimizer step, one mapping a learner; those that the learners get, not copies."""
    batches = training_data.batches or [training_data.batch]
    return [batch.policy_batches[POLICY] for batch in batches]


def rows_of(columns: dict[str, np.ndarray]) -> Iterator[tuple[list[int], list[int], np.ndarray]]:
    """Prompt, completion and old log-probs of the real rows, without padding."""
    names = (Columns.PROMPT_IDS, Columns.PROMPT_MASK, Columns.COMPLETION_IDS, Columns.COMPLETION_MASK, Columns.OLD_LOGP)
    real = columns[Columns.STREAM] >= 0  # others fill up passes
    for prompt, prompt_mask, completion, mask, old_logp in zip(*(columns[name][real] for name in names), strict=True):
        yield prompt[prompt_mask].tolist(), completion[mask].tolist(), old_logp[mask]


@contextmanager
def build(runners: int, learners: int, sharding: str) -> Iterator[Built]:
    """An algorithm with so many remote env runners and learners, after its first steps.

    All that goes between processes is on: a probe, a scoring pass, engines that sleep, evaluation after every step.
    """
    config = small(AEPOConfig(), entropy_window=2, num_env_runners=runners, num_learners=learners)
    config = config.training(importance_cap=2.0, rows_per_backward=2).learners(learner_sharding=sharding)
    config = config.sampling(sleep_while_learning=True, probe_rows=3).evaluation(evaluation_interval=1)
    built = Built(config.build_algo())
    try:
        built.train(STEPS)
        yield built
    finally:
        built.algo.stop()
