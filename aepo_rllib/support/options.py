"""Options, each declared once: default, kind, range and words in one place.

    class ClippedConfig(TextRLConfig):
        clip_low: float = option(0.2, "The ratio is clipped to [1 - low, 1 + high].", above=0)

From there an algorithm's is set (`training(clip_low=0.1)`, `--set clip_low=0.1`, YAML and Tune's `param_space` alike),
checked, and documented (`aepo methods`, docs/configuration.md, `help(ClippedConfig.training)`). RLlib's copying and
comparing see a plain attribute. An evaluation's settings are declared likewise (`aepo_rllib.eval.settings`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 1e15
"""No option is larger, and Python's whole numbers have no end."""
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    dict: "a mapping",
    Path: "a path",
}
MAX_SHOWN_CHARS = 200
"""Of a value in a message: it may come from a file that anybody has written."""


@dataclass(frozen=True)
class Option:
    """An option: what values it may have, and of a declared one its default and what it is for.

    Attributes:
        kind: bool, int, float (whole numbers fit), str, dict (any mapping) or Path (a text fits).
        least, above, most, below: Bounds of a number.
        choices: All values there are.
        optional: Whether None is a value, too.
        pair: Two such values in a list or tuple.
        several: One or more such values in a list or tuple; none where that is the default.
        instead: A text that is also a value, such as RLlib's "auto".
        schedule: Whether a list of [environment step, value] is a value, too.
        parse: Raises ValueError for a value that does not fit, instead of all this; for values with a grammar.
        grammar: That grammar in words.
        default: Where nothing is set.
        words: What it is for, with its unit.
    """

    kind: type
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    optional: bool = False
    pair: bool = False
    several: bool = False
    instead: str | None = None
    schedule: bool = False
    parse: Callable[[Any], Any] | None = None
    grammar: str = ""
    default: Any = None
    words: str = ""

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that does not fit.

        Raises:
            ValueError: names option, value and what it may be.
        """
        if (value is None and self.optional) or (self.instead is not None and value == self.instead):
            return
        if self.parse is not None:
            try:
                self.parse(value)
            except ValueError as error:
                raise ValueError(f"{name}={value!r:.{MAX_SHOWN_CHARS}}: {error}") from error
            return
        shown = f"{name}={value!r:.{MAX_SHOWN_CHARS}} must be {self.values()}"
        if self.schedule and isinstance(value, list):
            if not self._is_schedule(value):
                raise ValueError(f"{shown}, or a list of [environment step, value]")
            return
        values = value if self.pair or self.several else [value]
        if not isinstance(values, list | tuple) or not self._right_number(values) or not all(map(self._fits, values)):
            raise ValueError(shown)

    def values(self) -> str:
        """What a value may be."""
        if self.grammar:
            return self.grammar
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                ("at least", self.least),
                ("above", self.above),
                ("at most", self.most),
                ("below", self.below),
            )
            if bound is not None
        ]
        kind = f"one of {', '.join(map(str, self.choices))}" if self.choices else KINDS[self.kind]
        text = f"two of {kind}" if self.pair else f"a list, each {kind}" if self.several else kind
        text += f" {'of ' if self.kind is int and not self.pair else ''}{' and '.join(bounds)}" if bounds else ""
        return text + (f", or {self.instead!r}" if self.instead else "") + (", or None" if self.optional else "")

    def _right_number(self, values: Sequence[Any]) -> bool:
        return bool(values) or self.default == () if self.several else len(values) == 1 + self.pair

    def _fits(self, value: Any) -> bool:
        if _is_numpy_scalar(value):
            value = value.item()
        if self.kind in (dict, Path):
            return isinstance(value, Mapping if self.kind is dict else str | os.PathLike)
        if type(value) is not self.kind and not (self.kind is float and type(value) is int):
            return False
        if self.choices:
            return value in self.choices
        return not isinstance(value, int | float) or self._in_range(value)

    def _is_schedule(self, points: list[Any]) -> bool:
        pairs = all(isinstance(point, list | tuple) and len(point) == 2 for point in points)
        if not points or not pairs or not all(type(step) is int and self._fits(value) for step, value in points):
            return False
        steps = [step for step, _ in points]
        return steps[0] == 0 and steps == sorted(set(steps))

    def _in_range(self, value: float) -> bool:
        return (
            abs(value) <= LARGEST  # not NaN either
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )


def _is_numpy_scalar(value: Any) -> bool:
    """What Tune draws; told by name, for `aepo eval --help` needs no numpy."""
    return any((base.__module__, base.__name__) == ("numpy", "generic") for base in type(value).__mro__)


@dataclass(frozen=True)
class Idle:
    """An option that does nothing in a combination, or at all where it was inherited.

    Attributes:
        names: Of the options.
        instead: What to do.
        when: The option that switches them off; None: nothing switches them on.
        values: By these of its values it does,
        negated: or by all but these.
    """

    names: tuple[str, ...]
    instead: str
    when: str | None = None
    values: tuple[Any, ...] = ()
    negated: bool = False

    def check(self, config: Any, defaults: Mapping[str, Any]) -> None:
        """Refuse options that were set, and do nothing.

        Raises:
            ValueError: names both options with their values.
        """
        combination = "here"
        if self.when is not None:
            switch = getattr(config, self.when)
            if (switch in self.values) is self.negated:
                return
            combination = f"with {self.when}={switch!r}"
        for name in self.names:
            if (value := getattr(config, name)) != defaults[name]:
                raise ValueError(f"{name}={value!r} does nothing {combination}; {self.instead}")


def option(default: Any, words: str, *, kind: type | None = None, optional: bool | None = None, **bounds: Any) -> Any:
    """Declare an option in the body of a config class; typed as its value, so that type checkers see an attribute.

    Args:
        default: Its value where nothing is set; a tuple declares a pair unless it is `several`, None an optional one.
        words: What it is for.
        kind: Of its values, where the default does not tell.
        optional: Whether None is a value, where the default does not tell.
        bounds: Further attributes of `Option`.
    """
    pair = isinstance(default, tuple) and not bounds.get("several")
    kind = kind or type(default[0] if pair else default)
    optional = default is None if optional is None else optional
    return Option(kind, optional=optional, pair=pair, default=default, words=words, **bounds)


FLAG, TEXT, MAPPING = Option(bool), Option(str), Option(dict)
FRACTION = Option(float, least=0, most=1)
POSITIVE, NOT_NEGATIVE = Option(float, above=0), Option(float, least=0)


def count(least: int = 1, *, optional: bool = False, instead: str | None = None) -> Option:
    """A whole number."""
    return Option(int, least=least, optional=optional, instead=instead)


def choice(*choices: Any, optional: bool = False) -> Option:
    """One of several texts."""
    return Option(type(choices[0]), choices=choices, optional=optional)


def check_values(values: Mapping[str, Any], options: Mapping[str, Option], what: str = "") -> None:
    """Refuse values that do not fit their options; others are let through.

    Args:
        values: By name.
        options: Likewise.
        what: What the names are called in a message.

    Raises:
        ValueError: names the option.
    """
    for name, value in values.items():
        if name in options:
            options[name].check(f"{what} {name}".strip(), value)
