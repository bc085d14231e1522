"""What a row has for a verifier besides the known answer."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from aepo_rllib.envs.problems.columns import Row, shown
from aepo_rllib.envs.problems.jsonl import decode


def read_extra(row: Row) -> dict[str, Any]:
    """A mapping of JSON values; where the column that the user named holds one value, that under its name.

    Of a column that is only usual (`extra_info`), what is no JSON (dates, bytes) is left out, and a text may be such a
    mapping.

    Raises:
        ProblemError: the column that was named is not there, or holds what is no JSON.
    """
    column, value = row.find("extra")
    try:
        if "extra" not in row.fields:
            value = _decoded(value)
            items = value.items() if isinstance(value, Mapping) else ()
            return {key: _json_value(part) for key, part in items if isinstance(key, str) and _is_json(part)}
        if value is None:
            raise row.missing("extra")
        if not _is_json(value):
            raise row.refusal(f"extra must be numbers, texts, lists and objects, got {shown(value)}")
        content = _json_value(value)
    except RecursionError as error:
        raise row.refusal(f"{column} is nested too deeply") from error
    return content if isinstance(content, dict) else {column.rpartition(".")[2]: content}


def _decoded(value: Any) -> Any:
    """What a text says that is a JSON object, as tables without nested columns have it."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return decode(value)
    except ValueError:
        return value


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(part) for key, part in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return (
        value is None or isinstance(value, str | int) or (isinstance(value, float | Decimal) and isfinite(float(value)))
    )


def _json_value(value: Any) -> Any:
    """The same with numbers as JSON has them, and texts without types of tables."""
    if isinstance(value, Mapping):
        return {key: _json_value(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_json_value(part) for part in value]
    if isinstance(value, Decimal):
        return float(value)
    return str(value) if isinstance(value, str) else value
