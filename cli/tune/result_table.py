"""What a search prints at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from aepo_rllib.cli.tune.ledger import BASELINE
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.space import spelled


def as_table(plan: Plan, found: Sequence[Mapping[str, Any]]) -> Table:
    """The trials, the best first."""
    keys = list(dict.fromkeys(key for row in found for key in row["parameters"]))
    copies = any(row["parent"] for row in found)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("trial", *keys, plan.objective.metric, "steps", "state", *(["copy of"] if copies else [])):
        table.add_column(name, justify="left" if name in ("trial", "state", "copy of") else "right")
    for row in found:
        value = "-" if math.isnan(row["value"]) else f"{row['value']:.4g}"
        values = [shown(row["parameters"][key]) if key in row["parameters"] else "" for key in keys]
        parent = [row["parent"] or ""] if copies else []
        table.add_row(row["trial"], *values, value, str(row["steps"]), row["state"], *parent)
    return table


def shown(value: Any) -> str:
    """A parameter's value, rounded."""
    return f"{value:.4g}" if isinstance(value, float) else spelled(value)


def comparison(tested: Mapping[str, Mapping[str, float]], best: str) -> Table:
    """pass@k of the best trial and of the baseline, on problems that the search has not seen."""
    ks = list(next(iter(tested.values())))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("on problems that the search has not seen", no_wrap=True)
    for k in ks:
        table.add_column(f"pass@{k}", justify="right")
    for label, scores in tested.items():
        name = label if label == BASELINE else f"{label} ({best})"
        table.add_row(name, *(f"{scores[k]:.3f}" for k in ks))
    return table
