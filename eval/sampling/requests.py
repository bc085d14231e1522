"""lm-eval's requests, read as prompts with n samples each, and dealt into waves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lm_eval.api.instance import Instance

from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.store import Place, Samples, prompt_key

BLOCK = 128
"""Most samples of one prompt that are drawn together."""


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

    def without(self, samples: Samples) -> Asked:
        """The same for those places only that are still empty."""
        return replace(self, places=tuple(place for place in self.places if samples.get(place) is None))

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

    At any moment all prompts have about equally many samples. The waves follow one another through a fixed order, each
    as full as it can be, so that what is left after some of them is dealt into the very same waves as before: a run
    that was killed goes on to the same samples, down to the rounding of batched products.
    """
    block = min(BLOCK, max_rows)
    last = max((place.sample // block for question in asked for place in question.places), default=-1)
    for number in range(last + 1):
        wave: list[tuple[Asked, Sequence[Place]]] = []
        rows = 0
        for question in asked:
            places = [place for place in question.places if place.sample // block == number]
            if rows + len(places) > max_rows:
                yield wave
                wave, rows = [], 0
            if places:
                wave.append((question, places))
                rows += len(places)
        if wave:
            yield wave
