"""lm-eval's requests, read as prompts with n samples each, and dealt into waves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lm_eval.api.instance import Instance

from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.store import Place, prompt_key

BLOCK = 128
"""Samples of one prompt that are drawn together. A multiple of it is what n grows by without changing any wave."""


@dataclass(frozen=True)
class Asked:
    """One prompt to sample.

    Attributes:
        task: Name of the task that asks.
        text: The prompt.
        decoding: How to sample.
        places: Of the samples that are wanted.
    """

    task: str
    text: str
    decoding: Decoding
    places: tuple[Place, ...]

    def check(self) -> None:
        """Refuse several greedy samples (ValueError): they would be equal."""
        if self.decoding.greedy and len(self.places) > 1:
            raise ValueError(
                f"{self.task}: greedy decoding would give {len(self.places)} equal samples; ask for one sample, or "
                "set do_sample: true and a temperature above 0"
            )


def collect(requests: Sequence[Instance]) -> list[Asked]:
    """The prompts behind requests: neighbours that are one and the same object are samples of one prompt."""
    seen: Counter[tuple[str, str]] = Counter()
    asked = []
    for _, group in groupby(requests, key=id):
        request, *others = group
        text, task = request.args[0], request.task_name or ""
        key = prompt_key(text, seen[task, text])
        seen[task, text] += 1
        places = tuple(Place(key, number) for number in range(1 + len(others)))
        asked.append(Asked(task, text, Decoding.from_kwargs(request.args[1]), places))
    return asked


def waves(asked: Sequence[Asked], max_rows: int) -> Iterator[list[tuple[Asked, Sequence[Place]]]]:
    """Deal samples into waves of at most `max_rows`, a block of every prompt before the next block of any.

    What stands in a wave depends on the prompts and n alone, never on what a store already holds, so that a run that
    was killed samples the very same waves again. And at any moment all prompts have about equally many samples.
    """
    block = min(BLOCK, max_rows)
    longest = max((len(question.places) for question in asked), default=0)
    for first in range(0, longest, block):
        wave: list[tuple[Asked, Sequence[Place]]] = []
        rows = 0
        for question in asked:
            places = question.places[first : first + block]
            if rows + len(places) > max_rows:
                yield wave
                wave, rows = [], 0
            if places:
                wave.append((question, places))
                rows += len(places)
        if wave:
            yield wave
