"""What the algorithm asks of the env runners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple


class Purpose(NamedTuple):
    """What completions are for.

    Attributes:
        name: Of a method's stream, or of what else samples.
        number: Part of every completion's random key: no two purposes share uniforms. (If tempered completions reused
            the main stream's, they would pick the same token most of the time.)
        learned: Whether it is a method's stream.
    """

    name: str
    number: int
    learned: bool = False


MAIN_STREAM = Purpose("main", 0, learned=True)
"""The policy itself, at T = 1."""
EVALUATION, BASE_ENTROPY = Purpose("evaluation", 2), Purpose("base_entropy", 3)
RESERVED = 2
"""From this number on so many are no streams'."""


def purpose_of(stream: str, streams: Sequence[str]) -> Purpose:
    """The purpose of a method's stream: 0 for "main", the others by their place; no two have one number.

    Raises:
        ValueError: it is none of the streams.
    """
    if stream not in streams:
        raise ValueError(f"no stream {stream!r} in this method; it has {', '.join(streams)}")
    place = [MAIN_STREAM.name, *(name for name in streams if name != MAIN_STREAM.name)].index(stream)
    return Purpose(stream, place if place < RESERVED else place + RESERVED, learned=True)


@dataclass(frozen=True)
class RolloutRequest:
    """Groups of completions to sample and grade, of one purpose and at one temperature.

    Attributes:
        purpose: What for.
        seed: The run's seed.
        step: The training step.
        slots: Places of these groups in the step's batch.
        problems: Problem index of every slot.
        group_size: Completions per slot.
        temperature: Sampling temperature.
    """

    purpose: Purpose
    seed: int
    step: int
    slots: tuple[int, ...]
    problems: tuple[int, ...]
    group_size: int
    temperature: float = 1.0

    def key(self, slot: int, sample: int, turn: int = 0) -> tuple[int, ...]:
        """The random key of one completion: independent of runners, waves and order."""
        return (self.seed, self.purpose.number, self.step, slot, sample, turn)

    def only(self, slots: Sequence[int]) -> RolloutRequest:
        """The same request for some of its slots."""
        problem_of = dict(zip(self.slots, self.problems, strict=True))
        return replace(self, slots=tuple(slots), problems=tuple(problem_of[slot] for slot in slots))


def split(requests: Sequence[RolloutRequest], parts: int) -> list[list[RolloutRequest]]:
    """At most `parts` shares of all groups that are asked for, as even as can be; none is empty."""
    groups = [(place, slot) for place, request in enumerate(requests) for slot in request.slots]
    shares = [groups[part::parts] for part in range(min(parts, len(groups)))]
    return [
        [requests[place].only([slot for _, slot in own]) for place, own in groupby(share, key=lambda group: group[0])]
        for share in shares
    ]
