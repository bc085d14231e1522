"""One optimizer step of a learner group, be it local or several remote learners, and what it has shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from ray.exceptions import RayActorError
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.experience.passes import Passes
from aepo_rllib.experience.rows import EMPTY, columns_of
from aepo_rllib.rllib_seam import healthy_learners

IDS_SHOWN = 8


class NonFiniteError(RuntimeError):
    """A gradient is NaN or infinite; the optimizer step was refused and the weights are as they were."""


class LearnerLost(RuntimeError):
    """A learner process has died or failed, and the others cannot go on without it; RLlib brings none back."""


@contextmanager
def naming_lost_learners(group: LearnerGroup) -> Iterator[None]:
    """What is raised when a learner fails depends on what it and the others were doing; here it is one error.

    Raises:
        LearnerLost: something was raised, and a learner has died or failed.
    """
    try:
        yield
    except Exception as error:
        if healthy_learners(group) == len(group):
            raise
        failures: dict[int, Exception] = getattr(group, "failures", {})
        killed = {learner: failure for learner, failure in failures.items() if isinstance(failure, RayActorError)}
        # The others miss one that was killed, and say so in many ways.
        learner, first = next(iter((killed or failures).items()), (0, error))
        cause = getattr(first, "cause", first)
        what = f"raised {type(cause).__name__}: {cause}".splitlines()[0]
        if killed:
            what = "was killed, by the system for want of memory or by somebody"
        raise LearnerLost(f"learning failed: learner {learner} of {len(group)} {what}") from first


class OptimizerStep(NamedTuple):
    """What one optimizer step has shown.

    (What RLlib's metrics show of a learner is the mean over all optimizer steps of a batch.)

    Attributes:
        figures: Of this very step, over all learners, by the names of `_FIGURES`.
        results: RLlib's, one per learner.
        rows: How many went through the learners.
    """

    figures: dict[str, float]
    results: list[Any]
    rows: int


def take_step(group: LearnerGroup, passes: Sequence[Passes], *, env_steps: int, step: int) -> OptimizerStep:
    """One optimizer step on the rows of every learner.

    Args:
        group: The learners.
        passes: The passes of each.
        env_steps: Environment steps sampled so far; what RLlib's schedules read.
        step: Number of the training step, for the message.

    Raises:
        NonFiniteError: a gradient is NaN or infinite; names the problems.
    """
    batches = [train_batch(parts) for parts in passes]
    rows = [row for parts in passes for part in parts for row in part if row is not EMPTY]
    data = TrainingData(batch=batches[0]) if group.is_local else TrainingData(batches=batches)
    results = group.update(training_data=data, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps})
    columns = {
        name: np.array([float(result[DEFAULT_MODULE_ID][name].peek()) for result in results])
        for name in (*_FIGURES, metrics.TRAINED_TOKENS)
    }
    if not columns[metrics.GRADIENT_FINITE].all():
        ids = sorted({row.problem_id for row in rows})
        raise NonFiniteError(
            f"an update of training step {step} was refused before the optimizer, because its gradient is not finite; "
            f"its problems: {', '.join(ids[:IDS_SHOWN])}{' ...' * (len(ids) > IDS_SHOWN)}"
        )
    tokens = columns.pop(metrics.TRAINED_TOKENS)
    figures = {name: float(join(columns[name], tokens)) for name, join in _FIGURES.items()}
    return OptimizerStep(figures, results, rows=len(rows))


def token_mean(values: np.ndarray, tokens: np.ndarray) -> float:
    """Of means over so many tokens each."""
    return float((values * tokens).sum() / max(tokens.sum(), 1))


_FIGURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    metrics.SURPRISAL: lambda values, _: values.mean(),  # row weights hold the number of learners
    metrics.RATIO_MAX_DEVIATION: lambda values, _: values.max(),
    metrics.LARGEST_LOGP_GAP: lambda values, _: values.max(),
    metrics.LOGP_GAP: token_mean,
    metrics.KL_OLD_TO_NEW: token_mean,
    metrics.GRADIENT_FINITE: lambda values, _: values.min(),
}
"""What is read of one optimizer step, and how it is joined over learners, given the trained tokens of each."""


def ask_all(group: LearnerGroup, ask: Callable[[Any], Any]) -> list[Any]:
    """Call a function of every learner.

    Raises:
        LearnerLost: one has died or failed before, and RLlib would not ask it.
        Exception: whatever a learner raised.
    """
    results = list(group.foreach_learner(ask))
    for result in results:
        if not result.ok:
            raise result.get()
    if len(results) < len(group):
        raise LearnerLost(f"{len(group) - len(results)} of {len(group)} learner processes are there no more")
    return [result.get() for result in results]


def train_batch(passes: Passes) -> MultiAgentBatch:
    """What one learner is sent for a step."""
    rows = [row for part in passes for row in part]
    numbers = np.repeat(np.arange(len(passes)), [len(part) for part in passes])
    return MultiAgentBatch(
        {DEFAULT_MODULE_ID: SampleBatch(columns_of(rows) | {Columns.PASS: numbers})}, env_steps=len(rows)
    )
