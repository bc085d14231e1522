"""lm-eval's requests, read as prompts with n samples each, and dealt into waves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from lm_eval.api.instance import Instance

from aepo_rllib.eval.data import Turns, turns_of
from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.sample_files import Place, Samples, prompt_key

BLOCK = 16
"""Most samples of one prompt that are drawn together."""


@dataclass(frozen=True)
class Asked:
    """One prompt to sample.

    Attributes:
        task: Name of the task that asks.
        text: The prompt.
        decoding: How to sample.
        places: Of the samples that are wanted.
        turns: (role, content) of what the chat says before the text.
    """

    task: str
    text: str
    decoding: Decoding
    places: tuple[Place, ...]
    turns: Turns = ()

    def check(self) -> None:
        """Refuse several greedy samples (ValueError): they would be equal."""
        if self.decoding.greedy and len(self.places) > 1:
            raise ValueError(
                f"{self.task}: greedy decoding would give {len(self.places)} equal samples; ask for one sample, or "
                "set do_sample: true and a temperature above 0"
            )


def read_requests(requests: Sequence[Instance]) -> list[Asked]:
    """The prompts behind requests: neighbours that are one and the same object are samples of one prompt."""
    seen: Counter[tuple[str, str, Turns]] = Counter()
    asked = []
    for _, group in groupby(requests, key=id):
        request, *others = group
        text, task = request.args[0], request.task_name or ""
        turns = _turns(request.doc)
        key = prompt_key(text, seen[task, text, turns], turns)
        seen[task, text, turns] += 1
        places = tuple(Place(key, number) for number in range(1 + len(others)))
        asked.append(Asked(task, text, Decoding.from_kwargs(request.args[1]), places, turns))
    return asked


def _turns(doc: Mapping[str, Any]) -> Turns:
    """Of the documents of our tasks, which name a verifier; what others call so is another thing."""
    return turns_of(doc) if "verifier" in doc and isinstance(doc.get("turns"), str) else ()


def without(asked: Sequence[Asked], samples: Samples) -> Iterator[Asked]:
    """The same for those places only that are still empty, each once: suites may share a problem."""
    seen: set[Place] = set()
    for question in asked:
        places = tuple(place for place in question.places if place not in seen and samples.get(place) is None)
        seen.update(places)
        yield replace(question, places=places)


def waves(asked: Sequence[Asked], max_rows: int) -> Iterator[list[tuple[Asked, Sequence[Place]]]]:
    """Deal samples into waves of `max_rows`, a block of every prompt before the next block of any.

    At any moment all prompts have about equally many samples. The waves follow one another through a fixed order, and
    all but the last are full, so that what is left after some of them is dealt into the very same waves as before: a
    run that was killed goes on to the same samples, down to the rounding of batched products.
    """
    block = min(BLOCK, max_rows)
    order = sorted(
        ((place.sample // block, number, place) for number, question in enumerate(asked) for place in question.places),
        key=lambda row: row[:2],
    )
    for first in range(0, len(order), max_rows):
        wave: dict[int, list[Place]] = {}
        for _, number, place in order[first : first + max_rows]:
            wave.setdefault(number, []).append(place)
        yield [(asked[number], places) for number, places in wave.items()]
