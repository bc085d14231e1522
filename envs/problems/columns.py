"""Which column of a row holds what: by the user's field map, or by the names that are usual.

A field map says it: {"problem": "question", "answer": "final_answer"}. Dotted names reach into nested objects and
lists ("reward_model.ground_truth", "prompt.0.content").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from aepo_rllib.envs.problems.problem import ProblemError

MAX_PROBLEM_CHARS = 100_000
GUESSES: dict[str, tuple[str, ...]] = {
    "problem": ("problem", "question_concat", "question", "prompt", "query", "instruction", "input", "messages"),
    "answer": (
        *("final_answer", "expected_answer", "ground_truth", "reward_model.ground_truth", "gt_answer", "gold_answer"),
        *("reference_answer", "answer", "target", "gold", "label", "solution", "response", "output"),
    ),
    "id": ("id", "unique_id", "problem_idx"),
    "family": ("family", "subject"),
    "verifier": ("verifier",),
    "extra": ("extra", "extra_info"),
}
"""Columns tried in this order, whatever the case of their letters, for a field that the map does not name.

Columns made for a final answer come before `answer`, which holds the whole solution in some sets.
"""
SOLUTIONS = ("solution", "generated_solution", "rationale", "response", "completion", "output")
"""Columns, by the last part of their names, that hold a whole solution, the final answer somewhere in it."""
COMPANIONS: dict[str, tuple[str, ...]] = {
    "problem": ("options", "choices"),
    "question": ("body", "context", "options", "choices"),
    "instruction": ("input",),
}
"""Columns that a problem cannot be solved without, where a set has them."""
_MAX_INDEX_DIGITS = 9
_SHOWN_COLUMNS = 20
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_fields(fields: Mapping[str, str] | None) -> dict[str, str]:
    """A field map, checked; None is an empty one.

    Raises:
        ProblemError: no mapping, an unknown field, or a column that is no name.
    """
    if fields is None:
        return {}
    if not isinstance(fields, Mapping):
        raise ProblemError(f"fields must map {', '.join(GUESSES)} to columns, not be {shown(fields)}")
    for field, column in fields.items():
        if field not in GUESSES:
            raise ProblemError(f"fields: unknown field {shown(field)}; known: {', '.join(GUESSES)}")
        if not isinstance(column, str) or not column.strip():
            raise ProblemError(f"fields: {field} must be the name of a column, not {shown(column)}")
    return dict(fields)


def shown(value: Any) -> str:
    """A value as a message names it: the beginning of a plain one, the kind of any other."""
    if isinstance(value, Decimal):
        return f"{value!s:.80}"
    return f"{value!r:.80}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


@dataclass(frozen=True)
class Row:
    """A row, where it stands, and which column holds what.

    Attributes:
        place: What messages begin with.
        values: The columns.
        fields: The user's field map.
    """

    place: str
    values: Mapping[str, Any]
    fields: Mapping[str, str]

    def find(self, field: str) -> tuple[str, Any]:
        """The first column that has a value for a field, and the value; ("", None) where none has."""
        if field in self.fields:
            return self.fields[field], _reach(self.values, self.fields[field])
        for column in GUESSES[field]:
            if (value := _reach(self._in_small_letters, column)) is not None:
                return column, value
        return "", None

    def refusal(self, reason: str) -> ProblemError:
        """The error that says why the row cannot be used."""
        return ProblemError(f"{self.place}: {reason}")

    def missing(self, field: str) -> ProblemError:
        """The error that says where a field was looked for, what there was, and how to name its column."""
        names = [f"{name if name.isprintable() else ascii(name):.80}" for name in list(self.values)[:_SHOWN_COLUMNS]]
        wanted = self.fields.get(field) or ", ".join(GUESSES[field])
        return self.refusal(
            f"no {field} (looked for {wanted}; columns: {', '.join(names) or 'none'}); "
            f"name its column with --fields '{{{field}: COLUMN}}' (env_config.fields)"
        )

    def check_companions(self, column: str) -> None:
        """Refuse a problem whose text goes on in another column.

        Raises:
            ProblemError: a column that belongs to `column` has a value, and no field map says that it may be left out.
        """
        usual = {} if "problem" in self.fields else self._in_small_letters
        for other in COMPANIONS.get(column, ()):
            if usual.get(other):
                raise self.refusal(
                    f"the problem is in two columns, {column} and {other}; join them in one, or use one alone with "
                    f"--fields '{{problem: COLUMN}}' (env_config.fields)"
                )

    def whole(self, text: str, field: str) -> str:
        """The text, if it can be written anywhere.

        Raises:
            ProblemError: it holds half a character.
        """
        if half := _SURROGATE.search(text):
            raise self.refusal(f"the {field} holds half a character ({half.group()!r}), a lone surrogate")
        return text

    @cached_property
    def _in_small_letters(self) -> dict[str, Any]:
        """Columns that have a value, by their names in small letters; of `answer` and `Answer` the former."""
        others = {name.lower(): value for name, value in self.values.items() if value is not None}
        return others | {name: value for name, value in self.values.items() if value is not None}


def plain(value: Any) -> str | None:
    """A text, or a finite number in digits: the e of 1e-7 would be read as a letter. None for any other value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(str(value))
    return f"{exact:f}" if exact.is_finite() and abs(exact.adjusted()) <= MAX_PROBLEM_CHARS else None


def _reach(values: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of a part of one by a dotted name; None where there is none."""
    if column in values:
        return values[column]
    value: Any = values
    for part in column.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and len(part) <= _MAX_INDEX_DIGITS and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value
