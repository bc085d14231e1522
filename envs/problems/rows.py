"""From the rows of a file or dataset to checked problems.

A field map says which column holds what: {"problem": "question", "answer": "final_answer"}. Dotted names reach
into nested objects and lists ("reward_model.ground_truth", "prompt.0.content").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS, Problem, ProblemError

MAX_PROBLEM_CHARS = 100_000
MAX_NAME_CHARS = 1000
"""Of an id or a family."""
GUESSES: dict[str, tuple[str, ...]] = {
    "problem": ("problem", "question", "Problem", "prompt.0.content", "prompt"),
    "answer": ("answer", "final_answer", "Answer", "reward_model.ground_truth", "solution"),
    "id": ("id", "unique_id", "problem_idx"),
    "family": ("family", "subject"),
}
"""Columns tried in this order for a field that the map does not name."""
_MAX_INDEX_DIGITS = 9
_SHOWN_COLUMNS = 20
_DECORATION = "$%.\\ "
"""What graders drop around an answer."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
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


def as_problems(
    rows: Iterable[tuple[str, Mapping[str, Any]]], fields: Mapping[str, str], name: str, *, drop_repeats: bool = True
) -> Iterator[Problem]:
    """Checked problems; unless told otherwise, later repeats of a problem text are dropped.

    Args:
        rows: (place, row); messages begin with the place.
        fields: Which column holds what.
        name: Rows without an id are called by it and their number.
        drop_repeats: Leave out rows whose problem text has come before.

    Raises:
        ProblemError: a row without problem or answer, or with a value that cannot be used.
    """
    seen: set[str] = set()
    ids: set[str] = set()
    for number, (place, row) in enumerate(rows):
        text, answer = _problem(row, fields, place), _answer(row, fields, place)
        if drop_repeats and text in seen:
            continue
        seen.add(text)
        identifier = _name(row, "id", fields, place) or f"{name}-{number}"
        if identifier in ids:
            raise ProblemError(f"{place}: id {shown(identifier)} appears twice")
        ids.add(identifier)
        yield Problem(id=identifier, text=text, answer=answer, family=_name(row, "family", fields, place))


def shown(value: Any) -> str:
    """A value as a message names it: the beginning of a plain one, the kind of any other."""
    if isinstance(value, Decimal):
        return f"{value!s:.80}"
    return f"{value!r:.80}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _problem(row: Mapping[str, Any], fields: Mapping[str, str], place: str) -> str:
    text = _text(row, "problem", fields, place).strip()
    if len(text) > MAX_PROBLEM_CHARS:
        raise ProblemError(f"{place}: the problem has {len(text)} characters, more than {MAX_PROBLEM_CHARS}")
    return text


def _answer(row: Mapping[str, Any], fields: Mapping[str, str], place: str) -> str:
    """The known answer, if a completion can state it at all."""
    stated = _gold(_text(row, "answer", fields, place))
    if control := _CONTROL.search(stated):  # before the blanks go: some of these count as blanks
        raise ProblemError(
            f"{place}: the answer holds the control character {control.group()!r}, which no completion would match; "
            "is a backslash of its LaTeX missing its double in JSON?"
        )
    answer = stated.strip()
    if len(answer) > MAX_ANSWER_CHARS:
        raise ProblemError(
            f"{place}: the answer has {len(answer)} characters, more than the {MAX_ANSWER_CHARS} that are read of any "
            "answer, so no completion could match it"
        )
    if not answer.strip(_DECORATION):
        raise ProblemError(f"{place}: the answer is empty ({shown(answer)})")
    return answer


def _gold(answer: str) -> str:
    """The final answer; GSM8K's files hold the whole solution with the answer after `####`."""
    if "####" in answer:
        return answer.rsplit("####", 1)[1].replace(",", "")
    return answer


def _text(row: Mapping[str, Any], field: str, fields: Mapping[str, str], place: str) -> str:
    value = _find(row, field, fields)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        raise ProblemError(f"{place}: no {field} ({_search(row, field, fields)})")
    text = _plain(value)
    if text is None or not text.strip():
        raise ProblemError(f"{place}: {field} must be text that is not empty, got {shown(value)}")
    return _whole(text, field, place)


def _name(row: Mapping[str, Any], field: str, fields: Mapping[str, str], place: str) -> str:
    """An id or a family; empty where there is none."""
    value = _find(row, field, fields)
    if value is None and field == "id" and field in fields:
        raise ProblemError(f"{place}: no id ({_search(row, field, fields)})")
    name = "" if value is None else _plain(value)
    if name is None:
        raise ProblemError(f"{place}: {field} must be a text or a number, got {shown(value)}; map another column to it")
    if len(name) > MAX_NAME_CHARS:
        raise ProblemError(f"{place}: the {field} has {len(name)} characters, more than {MAX_NAME_CHARS}")
    return _whole(name, field, place)


def _plain(value: Any) -> str | None:
    """A text, or a finite number in digits: the e of 1e-7 would be read as a letter. None for any other value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(str(value))
    return f"{exact:f}" if exact.is_finite() and abs(exact.adjusted()) <= MAX_PROBLEM_CHARS else None


def _whole(text: str, field: str, place: str) -> str:
    """The text, if it can be written anywhere.

    Raises:
        ProblemError: it holds half a character.
    """
    if half := _SURROGATE.search(text):
        raise ProblemError(f"{place}: the {field} holds half a character ({half.group()!r}), a lone surrogate")
    return text


def _search(row: Mapping[str, Any], field: str, fields: Mapping[str, str]) -> str:
    """Where a field was looked for, and what there was."""
    columns = [f"{column if column.isprintable() else ascii(column):.80}" for column in list(row)[:_SHOWN_COLUMNS]]
    wanted = fields.get(field) or " or ".join(GUESSES[field])
    return f"looked for {wanted}; columns: {', '.join(columns) or 'none'}"


def _find(row: Mapping[str, Any], field: str, fields: Mapping[str, str]) -> Any:
    """The value of the first column that has one; None where none has."""
    for column in (fields[field],) if field in fields else GUESSES[field]:
        value: Any = row
        for part in column.split("."):
            value = _part(value, part)
        if value is not None:
            return value
    return None


def _part(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list) and part.isdecimal() and len(part) <= _MAX_INDEX_DIGITS and int(part) < len(value):
        return value[int(part)]
    return None
