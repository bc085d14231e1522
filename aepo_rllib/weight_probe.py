"""A fixed probe: after every weight update, engines and learner must agree on the log-probs of a few completions.

An engine with a model of its own (vLLM) can keep old weights, or some of them, while its samples look fine: a tied
output head that was not sent, a cache of old prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aepo_rllib.batching import Row

Sequences = list[tuple[list[int], list[int]]]
"""(prompt ids, completion ids) of each completion."""
PROBE_ROWS = 4


class ProbeError(RuntimeError):
    """An engine samples from other weights than the learner's."""


@dataclass(frozen=True)
class Gap:
    """How far an engine's log-probs are from the learner's, in nats.

    Attributes:
        mean: Of |difference| over tokens.
        largest: Of |difference|.
    """

    mean: float
    largest: float


def choose_probe(rows: Sequence[Row], count: int) -> Sequences:
    """The first completions of different prompts: what is asked again after every update."""
    chosen: dict[tuple[int, ...], Row] = {}
    for row in rows:
        chosen.setdefault(tuple(map(int, row.prompt_ids)), row)
    return [(list(prompt), [int(token) for token in row.completion_ids]) for prompt, row in chosen.items()][:count]


def measure_gap(learner: Sequence[np.ndarray], engine: Sequence[np.ndarray]) -> Gap:
    """Compare log-probs of the same tokens."""
    differences = np.abs(np.concatenate(learner) - np.concatenate(engine))
    return Gap(float(differences.mean()), float(differences.max()))


def check_gaps(gaps: Sequence[Gap], *, allowed: float, step: int) -> None:
    """Stop where an engine is off.

    Args:
        gaps: One per env runner.
        allowed: Largest |pi_engine / pi_learner - 1| over tokens.
        step: Training steps that have been taken; for the message.

    Raises:
        ProbeError: names the update and the runners.
    """
    off = [number for number, gap in enumerate(gaps) if not np.expm1(gap.largest) <= allowed]
    if off:
        worst = max(gaps[number].largest for number in off)
        raise ProbeError(
            f"after the weight update of training step {step} the engine of env runner {', '.join(map(str, off))} is "
            f"off the learner by {worst:.3g} nats on the probe (ratio_tolerance={allowed}): it kept old weights"
        )
