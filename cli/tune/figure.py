"""The plot of a search: what every trial came to, against each of its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aepo_rllib.cli.tune.ledger import BASELINE, FINISHED
from aepo_rllib.cli.tune.space import Choice, Distribution, LogUniform, spelled

INK, FAINT, BEST_INK, BASE = "#0072B2", "#9aa5b1", "#D55E00", "#666666"
COLUMNS, MOST_TICKS = 3, 5


def draw(
    space: Mapping[str, Distribution], metric: str, found: Sequence[Mapping[str, Any]], best: str | None, file: Path
) -> None:
    """Draw one small plot a parameter: trials with all steps filled, those that were ended earlier hollow.

    Args:
        space: What was searched over.
        metric: What is drawn.
        found: Rows of the trials, see `aepo_rllib.cli.tune.results.rows`.
        best: The trial that is marked.
        file: A PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [row for row in found if not math.isnan(row["value"])]
    lines = math.ceil(len(space) / COLUMNS)
    columns = min(len(space), COLUMNS)
    figure, axes = plt.subplots(
        lines, columns, figsize=(1.2 + 3.1 * columns, 0.8 + 2.9 * lines), sharey=True, squeeze=False
    )
    for axis in axes.flat[len(space) :]:
        axis.set_visible(False)
    for axis, (key, distribution) in zip(axes.flat, space.items(), strict=False):
        _panel(axis, key, distribution, shown, best)
    for axis in axes[:, 0]:
        axis.set_ylabel(metric)
    handles = {
        text: handle for axis in axes.flat for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="upper center", ncols=len(handles) or 1, frameon=False, fontsize=9
    )
    figure.tight_layout(rect=(0, 0, 1, 0.98 - 0.25 / figure.get_figheight()))
    # Without the version, so that the same trials give the same file.
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _panel(
    axis: Any, key: str, distribution: Distribution, shown: Sequence[Mapping[str, Any]], best: str | None
) -> None:
    place = _places(axis, distribution)
    ended = [row for row in shown if row["trial"] != BASELINE]
    whole = [row for row in ended if row["state"] == FINISHED]
    parts = [row for row in ended if row["state"] != FINISHED]
    for rows, label, style in (
        (whole, "all steps", {"color": INK}),
        (parts, "fewer steps", {"facecolor": "none", "edgecolor": FAINT}),
        (
            [row for row in whole if row["trial"] == best],
            "best",
            {"facecolor": "none", "edgecolor": BEST_INK, "s": 130},
        ),
    ):
        if rows:
            x = [place(row["parameters"][key]) for row in rows]
            axis.scatter(x, [row["value"] for row in rows], label=label, **{"s": 34, **style})
    for row in shown:
        if row["trial"] == BASELINE:
            axis.axhline(row["value"], color=BASE, ls=":", lw=1.2, label=BASELINE)
    axis.set_xlabel(key)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _places(axis: Any, distribution: Distribution) -> Any:
    """Where a value stands on the axis, which is made to fit."""
    if isinstance(distribution, Choice):
        listed = [spelled(value) for value in distribution.arguments]
        axis.set_xticks(np.arange(len(listed)), listed)
        axis.margins(x=0.5 / len(listed))
        axis.set_xlim(-0.5, len(listed) - 0.5)
        return lambda value: listed.index(spelled(value))
    low, high = distribution.ends()
    if isinstance(distribution, LogUniform):
        axis.set_xscale("log")
        ticks = _ticks(low, high)
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
        edge = (high / low) ** 0.05
        axis.set_xlim(low / edge, high * edge)
    else:
        edge = 0.05 * (high - low) or 0.5
        axis.set_xlim(low - edge, high + edge)
    return lambda value: value


def _ticks(low: float, high: float) -> list[float]:
    """A few round numbers of a logarithmic range: powers of ten, and what stands between them where there is room."""
    for between in ((1, 2, 5), (1, 3), (1,)):
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [number * 10.0**exponent for exponent in exponents for number in between]
        ticks = [tick for tick in ticks if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9)]
        if len(ticks) <= MOST_TICKS:
            break
    return ticks
