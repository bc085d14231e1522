"""Which trials a search begins, and how far each is to go before the next question. One idea for every way to search.

What is proposed is noted in the search's folder before it begins, and depends on the search's seed and on what earlier
trials came to, not on who asks when.
"""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from aepo_rllib.cli.tune.ledger import BASELINE, Ledger, Trial
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.search import Search
from aepo_rllib.cli.tune.space import Distribution, Grid


class Job(NamedTuple):
    """A trial that is to go on.

    Attributes:
        name: Its name.
        until: After how many steps it ends, for now.
    """

    name: str
    until: int


class Proposals(ABC):
    """What is to be done next.

    Args:
        search: What is searched for.
        ledger: Its trials; those that are proposed are noted there.
        plan: What it comes to.
    """

    def __init__(self, search: Search, ledger: Ledger, plan: Plan) -> None:
        self._search, self._ledger, self._plan = search, ledger, plan
        if search.baseline and BASELINE not in ledger.trials:
            ledger.write(Trial(BASELINE))
        self._waiting = deque(Job(name, search.steps) for name in ledger.left() if name == BASELINE)

    def next(self) -> Job | None:
        """The next job; None where there is none now."""
        return self._waiting.popleft() if self._waiting else self._propose()

    @property
    def total(self) -> int:
        """How many trials there will be, the baseline included, as far as is known."""
        return self._search.samples + self._search.baseline

    @abstractmethod
    def _propose(self) -> Job | None:
        """A job of a trial of the search's own."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether there will be none any more."""

    def ended(self, job: Job) -> None:
        """Told of a job that has ended, be it well or not."""


class Listed(Proposals):
    """Trials that are known from the beginning: drawn at random, or all combinations."""

    def __init__(self, search: Search, ledger: Ledger, plan: Plan) -> None:
        super().__init__(search, ledger, plan)
        for parameters in itertools.islice(proposed(search), len(ledger.own), None):
            ledger.write(Trial(ledger.next_name(), parameters))
        self._left = deque(name for name in ledger.left() if name != BASELINE)

    @property
    def total(self) -> int:
        """As the base's."""
        return len(self._ledger.trials)

    def _propose(self) -> Job | None:
        return Job(self._left.popleft(), self._search.steps) if self._left else None

    @property
    def over(self) -> bool:
        """As the base's."""
        return not self._left and not self._waiting


def proposed(search: Search) -> Iterator[dict[str, Any]]:
    """Parameters of every trial of a search at random or over a grid; the same ones once, for they come to the same."""
    seen = set()
    for parameters in _PARAMETERS.get(search.search, _none)(search):
        spelled = json.dumps(parameters, sort_keys=True)
        if spelled not in seen:
            seen.add(spelled)
            yield parameters


def _at_random(search: Search) -> Iterator[dict[str, Any]]:
    grid = [key for key, distribution in search.space.items() if isinstance(distribution, Grid)]
    free = {key: distribution for key, distribution in search.space.items() if key not in grid}
    numbers = itertools.count()
    for _ in range(search.samples):
        for listed in combinations(search.space, grid):
            parameters = drawn(free, search.seed, next(numbers)) | listed
            yield {key: parameters[key] for key in search.space}


def _none(search: Search) -> Iterator[dict[str, Any]]:
    return iter(())


def _all(search: Search) -> Iterator[dict[str, Any]]:
    return combinations(search.space, search.space)


_PARAMETERS: dict[str, Callable[[Search], Iterator[dict[str, Any]]]] = {"random": _at_random, "grid": _all}


def drawn(space: Mapping[str, Distribution], seed: int, *numbers: int) -> dict[str, Any]:
    """Values at random: a function of the search's seed and the trial's number, whatever else is drawn."""
    rng = np.random.default_rng([seed, *numbers])
    return {key: distribution.draw(rng) for key, distribution in space.items()}


def combinations(space: Mapping[str, Distribution], keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of some keys, the last one fastest; one empty one of no keys."""
    keys = list(keys)
    for values in itertools.product(*(space[key].values() or () for key in keys)):
        yield dict(zip(keys, values, strict=True))
