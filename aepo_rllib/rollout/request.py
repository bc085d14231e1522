"""What the algorithm asks of the env runners."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Stream(enum.IntEnum):
    """What completions are for. Part of every completion's random key: streams never share uniforms.

    (If tempered completions reused the main stream's uniforms, they would pick the same token most of the time.)
    """

    MAIN = 0
    TEMPERED = 1
    EVALUATION = 2
    BASE_ENTROPY = 3


@dataclass(frozen=True)
class RolloutRequest:
    """Groups of completions to sample and grade.

    Attributes:
        stream: What for.
        seed: The run's seed.
        step: The training step.
        slots: Places of these groups in the step's batch.
        problems: Problem index of every slot.
        group_size: Completions per slot.
        temperature: Sampling temperature.
    """

    stream: Stream
    seed: int
    step: int
    slots: tuple[int, ...]
    problems: tuple[int, ...]
    group_size: int
    temperature: float = 1.0

    def key(self, slot: int, sample: int, turn: int = 0) -> tuple[int, ...]:
        """The random key of one completion: independent of runners, waves and order."""
        return (self.seed, int(self.stream), self.step, slot, sample, turn)

    def split(self, parts: int) -> list[RolloutRequest]:
        """At most `parts` requests that share the slots evenly; none is empty."""
        shares = [self.slots[part::parts] for part in range(parts)]
        problem_of = dict(zip(self.slots, self.problems, strict=True))
        return [self.only(share, problem_of) for share in shares if share]

    def only(self, slots: tuple[int, ...], problem_of: dict[int, int] | None = None) -> RolloutRequest:
        """The same request for some of its slots."""
        problem_of = problem_of or dict(zip(self.slots, self.problems, strict=True))
        return RolloutRequest(
            self.stream,
            self.seed,
            self.step,
            tuple(slots),
            tuple(problem_of[slot] for slot in slots),
            self.group_size,
            self.temperature,
        )
