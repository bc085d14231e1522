"""Rows of CSV and Parquet files, of saved datasets and of the Hugging Face hub, as plain values."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aepo_rllib.envs.problems.bounded_files import MAX_LINES, MAX_UNPACKED_BYTES, read_lines, reason_of
from aepo_rllib.envs.problems.jsonl import decode
from aepo_rllib.envs.problems.problem import ProblemError

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_ONCE = 64
"""Few: a hostile file says in a few bytes that every row holds the same long text."""


class Cell(str):
    """A value of a table that has no types: a text which may be meant as a number."""

    __slots__ = ()


def read_csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of every row of comma separated values under a line of column names; empty cells are left out.

    Raises:
        ProblemError: a row has more or fewer cells than there are columns, a quotation does not end, the same column
            comes twice, or the file cannot be read.
    """
    reader = csv.reader((line for _, line in read_lines(path)), strict=True, skipinitialspace=True)
    line = 1
    try:
        columns = [name.strip() for name in next(reader, [])]
        if len(set(columns)) < len(columns):
            twice = next(name for name in columns if columns.count(name) > 1)
            raise ProblemError(f"{path}:1: the column {twice!r:.80} comes twice")
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(columns):
                raise ProblemError(f"{path}:{line}: {len(cells)} cells under {len(columns)} columns")
            if cells:
                yield f"{path}:{line}", {name: Cell(cell) for name, cell in zip(columns, cells, strict=True) if cell}
            line = reader.line_num + 1
    except csv.Error as error:
        raise ProblemError(f"{path}:{line}: not comma separated values ({error})") from error


def read_parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of every row of a Parquet file; the place is `file[number]`, from 0.

    Raises:
        ProblemError: the file cannot be read, or says that it is enormous.
    """
    from pyarrow import parquet

    number = 0
    try:
        file = parquet.ParquetFile(path)
        groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        if file.metadata.num_rows > MAX_LINES or sum(group.total_byte_size for group in groups) > MAX_UNPACKED_BYTES:
            raise ProblemError(f"more than {MAX_LINES} rows or {MAX_UNPACKED_BYTES} bytes")
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            for row in plain_rows(batch):
                yield f"{path}[{number}]", row
                number += 1
    except Exception as error:  # damaged files raise many unrelated types
        raise ProblemError(f"{path}[{number}]: cannot be read as Parquet ({reason_of(error)})") from error


def read_saved(path: Path, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a folder that `datasets.save_to_disk` has written; the split counts where it has several.

    Raises:
        ProblemError: it cannot be loaded, or has no such split.
    """
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except Exception as error:  # files that do not fit together raise many unrelated types
        raise ProblemError(f"{path}: cannot be loaded as a saved dataset ({reason_of(error)})") from error
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise ProblemError(f"{path}: no split {split!r:.80}; there are {', '.join(map(str, saved))}")
        saved = saved[split]
    yield from _dataset_rows(saved, str(path), f"{path}: cannot be read")


def read_hub(source: str, split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of a Hugging Face dataset, `org/name` or `org/name:configuration`. None of its code is run.

    Raises:
        ProblemError: it cannot be loaded.
    """
    import datasets

    name, _, configuration = source.partition(":")
    failed = f"cannot load dataset {source!r:.80}, split {split!r:.80}"
    try:
        rows = datasets.load_dataset(name, configuration or None, split=split, trust_remote_code=False)
    except Exception as error:  # the hub raises many unrelated types
        raise ProblemError(f"{failed}: {reason_of(error)}") from error
    yield from _dataset_rows(rows, source, failed)


def plain_rows(table: pyarrow.RecordBatch | pyarrow.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table as Python values; a float of fewer bits as the decimal that is written for it."""
    table.validate(full=True)  # or a hostile file's offsets would be read as they stand
    names = table.schema.names
    if len(set(names)) < len(names):
        raise ProblemError(f"the column {next(name for name in names if names.count(name) > 1)!r:.80} comes twice")
    columns = [
        [_plain(value, field.type) for value in column.to_pylist()] if _is_special(field.type) else column.to_pylist()
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _dataset_rows(dataset: Any, source: str, failed: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    number = 0
    try:
        # As Arrow tables: the usual format would open the images and sounds that a row names.
        for table in dataset.with_format("arrow").iter(ROWS_AT_ONCE):
            for row in plain_rows(table):
                yield f"{source}[{number}]", row
                number += 1
    except Exception as error:
        raise ProblemError(f"{failed}: {reason_of(error)}") from error


def _is_special(kind: pyarrow.DataType) -> bool:
    """Whether a type holds short floats or JSON, which Python's own values would not show as they are written."""
    import pyarrow

    if pyarrow.types.is_float16(kind) or pyarrow.types.is_float32(kind) or isinstance(kind, pyarrow.JsonType):
        return True
    return any(_is_special(kind.field(place).type) for place in range(kind.num_fields))


def _plain(value: Any, kind: pyarrow.DataType) -> Any:
    import pyarrow

    if value is None or not _is_special(kind):
        return value
    if isinstance(kind, pyarrow.JsonType):
        return decode(value)
    if pyarrow.types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type) for field in kind}
    if pyarrow.types.is_floating(kind):
        return Decimal(str(kind.to_pandas_dtype()(value)))
    return [_plain(part, kind.value_type) for part in value] if hasattr(kind, "value_type") else value
