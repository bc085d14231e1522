"""The space of a search: a distribution for every setting, written as in Python, `loguniform(1e-4, 2e-3)`.

Nothing that is written is run: what stands between the parentheses is read as a list of plain YAML values, so that 0.5x
is a text and 1e-4 a number. Names and meaning are those of `ray.tune`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from aepo_rllib.support.arguments import did_you_mean
from aepo_rllib.support.yaml_input import parse_yaml

LONGEST_TEXT = 2000
MOST_VALUES, DEEPEST = 1000, 4
"""Of a distribution's values, and of lists in them."""
SHOWN = 80
_FORM = re.compile(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True)
class Distribution(ABC):
    """Where the values of a setting come from.

    Attributes:
        arguments: As in `ray.tune`'s function of that name.

    Raises:
        ValueError: they do not fit.
    """

    arguments: tuple[Any, ...]
    NAME: ClassVar[str]
    FORM: ClassVar[str]
    """How it is written."""

    def __post_init__(self) -> None:
        self._check()

    def __str__(self) -> str:
        return f"{self.NAME}({', '.join(map(spelled, self.arguments))})"

    @abstractmethod
    def _check(self) -> None:
        """Refuse arguments that do not fit (ValueError)."""

    @abstractmethod
    def ends(self) -> tuple[Any, ...]:
        """The values that decide whether all are allowed: the ends of a range, or every one of a list."""

    @abstractmethod
    def values(self) -> tuple[Any, ...] | None:
        """All values, in order; None where there is no end of them."""

    @abstractmethod
    def domain(self) -> Any:
        """As Ray Tune has it."""

    @abstractmethod
    def perturbed(self, value: Any, factors: Sequence[float], rng: np.random.Generator) -> Any:
        """A value near another one: times one of the factors within the range, or its neighbour in the list."""

    def draw(self, rng: np.random.Generator) -> Any:
        """A value at random."""
        return self.domain().sample(random_state=rng)


class _Range(Distribution):
    """Numbers between two ends."""

    FORM = "NAME(LOW, HIGH)"
    WHOLE = False

    def _check(self) -> None:
        count = self.FORM.count(",") + 1
        if len(self.arguments) != count or not all(map(self._is_number, self.arguments)):
            kind = "whole numbers" if self.WHOLE else "numbers"
            raise ValueError(f"write {self.written()} with {count} {kind}")
        if not self.low < self.high:
            raise ValueError(f"{self.written()}: {self.low} is not below {self.high}")

    @classmethod
    def written(cls) -> str:
        """How it is written."""
        return cls.FORM.replace("NAME", cls.NAME)

    def _is_number(self, value: Any) -> bool:
        return type(value) is int or (type(value) is float and math.isfinite(value) and not self.WHOLE)

    @property
    def low(self) -> Any:
        """The lowest value."""
        return self.arguments[0]

    @property
    def high(self) -> Any:
        """The upper end."""
        return self.arguments[1]

    def ends(self) -> tuple[Any, ...]:
        """As the base's."""
        return float(self.low), float(self.high)

    def values(self) -> tuple[Any, ...] | None:
        """As the base's."""
        return None

    def perturbed(self, value: Any, factors: Sequence[float], rng: np.random.Generator) -> Any:
        """As the base's."""
        low, high = self.ends()
        return self.rounded(min(max(value * float(rng.choice(factors)), low), high))

    def rounded(self, value: float) -> Any:
        """The nearest value that can be drawn."""
        return value

    def domain(self) -> Any:
        """As the base's."""
        from ray import tune

        return getattr(tune, self.NAME)(*self.arguments)


class Uniform(_Range):
    """Evenly from LOW to HIGH."""

    NAME = "uniform"


class LogUniform(_Range):
    """Evenly in the logarithm."""

    NAME = "loguniform"

    def _check(self) -> None:
        super()._check()
        if self.low <= 0:
            raise ValueError(f"{self.written()}: a logarithm needs LOW above 0, not {self.low}")


class QUniform(_Range):
    """Evenly, rounded to multiples of STEP."""

    NAME, FORM = "quniform", "NAME(LOW, HIGH, STEP)"

    def _check(self) -> None:
        super()._check()
        step = self.arguments[2]
        if step <= 0:
            raise ValueError(f"{self.written()}: STEP has to be above 0, not {step}")
        for end in (self.low, self.high):
            if not math.isclose(end / step, round(end / step), abs_tol=1e-9):
                raise ValueError(f"{self.written()}: {end} is no multiple of {step}")

    def rounded(self, value: float) -> float:
        """As the base's."""
        return float(round(value / self.arguments[2]) * self.arguments[2])


class RandInt(_Range):
    """Whole numbers from LOW to HIGH - 1."""

    NAME, WHOLE = "randint", True

    def ends(self) -> tuple[Any, ...]:
        """As the base's."""
        return self.low, self.high - 1

    def values(self) -> tuple[Any, ...] | None:
        """As the base's."""
        return tuple(range(self.low, self.high)) if self.high - self.low <= MOST_VALUES else None

    def rounded(self, value: float) -> int:
        """As the base's."""
        return round(value)


class Choice(Distribution):
    """One of several values."""

    NAME, FORM = "choice", "NAME(VALUE, VALUE, ...)"

    def _check(self) -> None:
        if not self.arguments:
            raise ValueError(f"write {self.FORM.replace('NAME', self.NAME)} with one value or more")
        twice = [a for a, b in itertools.combinations(self.arguments, 2) if type(a) is type(b) and a == b]
        if twice:
            raise ValueError(f"{self.NAME}: the value {twice[0]!r:.{SHOWN}} twice")

    def ends(self) -> tuple[Any, ...]:
        """As the base's."""
        return self.arguments

    def values(self) -> tuple[Any, ...] | None:
        """As the base's."""
        return self.arguments

    def domain(self) -> Any:
        """As the base's."""
        from ray import tune

        return tune.choice(list(self.arguments))

    def perturbed(self, value: Any, factors: Sequence[float], rng: np.random.Generator) -> Any:
        """As the base's."""
        place = self.arguments.index(value) + int(rng.choice((-1, 1)))
        return self.arguments[min(max(place, 0), len(self.arguments) - 1)]


class Grid(Choice):
    """Every one of several values; what else there is, is drawn anew for each."""

    NAME = "grid"


KINDS: dict[str, type[Distribution]] = {
    kind.NAME: kind for kind in (Uniform, LogUniform, QUniform, RandInt, Choice, Grid)
}
FORMS = ", ".join(kind.FORM.replace("NAME", kind.NAME) for kind in KINDS.values())


def parse_distribution(text: Any) -> Distribution:
    """The distribution that a text describes.

    Raises:
        ValueError: it describes none; says what there is.
    """
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or not (match := _FORM.fullmatch(text)):
        raise ValueError(f"not a distribution; there are {FORMS}")
    name, inside = match.groups()
    if name not in KINDS:
        raise ValueError(f"unknown distribution {name!r:.{SHOWN}}{did_you_mean(name, KINDS)}; there are {FORMS}")
    values = parse_yaml(f"[{inside}]", f"{name}(...)")
    if not isinstance(values, list):
        raise ValueError(f"{name}(...): not a list of values")
    _check_plain(values)
    return KINDS[name](tuple(values))


def _check_plain(values: list[Any]) -> None:
    """Refuse dates, mappings, and lists that are long, deep, or within themselves."""
    waiting: list[tuple[Any, int]] = [(values, 0)]
    for seen in itertools.count():
        if not waiting:
            return
        value, depth = waiting.pop()
        if seen > MOST_VALUES or depth > DEEPEST:
            raise ValueError(f"more than {MOST_VALUES} values, or lists in each other more than {DEEPEST} deep")
        if isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif not isinstance(value, bool | int | float | str | None):
            raise ValueError(f"a {type(value).__name__} among the values; there are numbers, texts, true, null, lists")


def spelled(value: Any) -> str:
    """A value as YAML reads it back, in a line."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, list):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+x|[a-z_][a-z_0-9]*", value) and parse_yaml(value, "") == value:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\U{ord(character):08x}" for character in text)


def nested(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of keys whose dots reach into mappings, as with `--set`."""
    result: dict[str, Any] = {}
    for key, value in parameters.items():
        *outer, last = key.split(".")
        inner = result
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return result
