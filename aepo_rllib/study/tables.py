"""The results of a study as tidy tables: a row for every step, every trial, and every problem of an evaluation.

They hold all that reports are made of, in Parquet (as they are) and in CSV (rounded, to be read by others).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

STEPS, TRIALS, PROBLEMS = "steps", "trials", "problems"
COLUMNS: dict[str, dict[str, str]] = {
    STEPS: {
        "arm": "string",
        "seed": "int64",
        "step": "int64",
        "completions": "int64",  # sampled up to and with this step
        "seconds": "float64",  # of this step
        "entropy": "float64",  # at T = 1, exact where the engine sees logits, in nats per token
        "target": "float64",
        "read": "float64",  # the entropy that a dial was shown
        "setting": "float64",  # what it turned to
        "reward": "float64",
    },
    TRIALS: {
        "arm": "string",
        "seed": "int64",
        "base_entropy": "float64",
        "setting": "string",  # what that is called, "" where there is no dial
        "low": "float64",  # its bounds
        "high": "float64",
    },
    PROBLEMS: {
        "arm": "string",
        "seed": "int64",
        "checkpoint": "string",  # last, or best: which weights were asked; of the untrained model each of the study's
        "suite": "string",
        "problem": "string",
        "n": "int64",
        "correct": "int64",
    },
}
"""Columns of every table; `steps` has one more for every metric that a study adds, `trials` for every score."""


@dataclass(frozen=True)
class Tables:
    """Everything that was measured.

    Attributes:
        steps: A row for every training step.
        trials: A row for every trial that has begun.
        problems: A row for every problem that a trained model, or the untrained one, was asked.
    """

    steps: pd.DataFrame
    trials: pd.DataFrame
    problems: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write each table as NAME.parquet and NAME.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in COLUMNS:
            table: pd.DataFrame = getattr(self, name)
            table.to_parquet(folder / f"{name}.parquet", index=False)
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def table(name: str, rows: Sequence[dict[str, object]], extra: Sequence[str] = ()) -> pd.DataFrame:
    """A table with its columns in their order, those of `extra` after them; what a row lacks is nan."""
    frame = pd.DataFrame(list(rows), columns=[*COLUMNS[name], *extra])
    return frame.astype({**COLUMNS[name], **dict.fromkeys(extra, "float64")})


def read_tables(folder: Path) -> Tables:
    """What `Tables.write` has written.

    Raises:
        ValueError: a table is missing, or another program's; names its file.
    """
    frames = {}
    for name, columns in COLUMNS.items():
        file = folder / f"{name}.parquet"
        try:
            frames[name] = pd.read_parquet(file)
        except FileNotFoundError as error:
            raise ValueError(f"there is no {file}: no trial has ended yet, or this is no folder of a study") from error
        except Exception as error:  # what a damaged file raises depends on where the damage is
            raise ValueError(f"{file} cannot be read ({type(error).__name__}: {error})") from error
        if missing := [column for column in columns if column not in frames[name]]:
            raise ValueError(f"{file} has no column {missing[0]}")
    return Tables(**frames)
