"""pass@k curves as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aepo_rllib.support.terminal import visible

MAX_COLUMNS = 3
INK = "#1f2d3a"
COLOURS = ("#1f77b4", "#d9822b", "#2a9d5c", "#b0478f", "#8a6d3b", "#5a5fcf", "#c0392b", "#4aa3a2")


def plot_curves(summary: Mapping[str, Any], file: Path) -> Path:
    """Draw a panel per group and suite: pass@k of all problems with its 95 % band, and of every part with error bars.

    The parts of a group are its suites, those of a suite its families of problems.

    Args:
        summary: The content of passk.json.
        file: The picture; its ending names the format.
    """
    panels = _panels(summary)
    columns = min(len(panels), MAX_COLUMNS)
    rows = math.ceil(len(panels) / columns)
    with plain_pyplot() as plt:
        figure, axes = plt.subplots(
            rows, columns, figsize=(7 * columns, 4.8 * rows), squeeze=False, layout="constrained"
        )
        for axis in axes.ravel()[len(panels) :]:
            axis.remove()
        for axis, (title, scores) in zip(axes.ravel(), panels, strict=False):
            _draw(axis, title, scores)
        figure.savefig(file, dpi=150)
        plt.close(figure)
    return file


@contextmanager
def plain_pyplot() -> Iterator[Any]:
    """`matplotlib.pyplot` without a screen, and with names as they are: a dollar sign in one begins no formula."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"text.parse_math": False}):
        yield plt


def style_k_axis(axis: Any, ks: Sequence[float] | np.ndarray) -> None:
    """A logarithmic axis whose ticks are the values of k."""
    axis.set_xscale("log", base=2)
    axis.set_xticks(ks, [str(int(k)) for k in ks])
    axis.minorticks_off()
    axis.set_xlabel("k (samples per problem)")
    axis.grid(alpha=0.25)


def _panels(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(title, scores) with the parts of each under "families"."""
    suites = summary["suites"]
    groups = {
        f"{name}, macro average": scores | {"families": {suite: suites[suite] for suite in scores["suites"]}}
        for name, scores in summary["groups"].items()
    }
    titles = {
        f"{name}, n = {scores['n']}, temperature {scores.get('temperature')}": scores for name, scores in suites.items()
    }
    return [*groups.items(), *titles.items()]


def _draw(axis: Any, title: str, scores: Mapping[str, Any]) -> None:
    ks, mean, low, high = _arrays(scores)
    families = scores["families"] if len(scores["families"]) > 1 else {}
    for place, (family, part) in enumerate(families.items()):
        _, family_mean, family_low, family_high = _arrays(part)
        # Curves are set side by side by a few percent of k, or their error bars would cover one another.
        shifted = ks * 2.0 ** (0.05 * (place - (len(families) - 1) / 2))
        colour = COLOURS[place % len(COLOURS)]
        bars = np.clip([family_mean - family_low, family_high - family_mean], 0, None)
        label = f"{visible(family)} ({part['problems']})"
        axis.errorbar(
            shifted, family_mean, bars, color=colour, lw=1.2, elinewidth=0.8, capsize=2, marker="o", ms=3, label=label
        )
    axis.fill_between(ks, low, high, color=INK, alpha=0.15, lw=0)
    axis.plot(ks, mean, color=INK, lw=2.5, marker="o", ms=5, label=f"all ({scores['problems']})")
    style_k_axis(axis, ks)
    axis.set_ylim(0, 103)  # points at 100 stay whole
    axis.set_ylabel("pass@k in %, with 95 % interval over problems")
    axis.set_title(visible(title))
    handles, labels = axis.get_legend_handles_labels()
    # Beside the axes: intervals of few problems reach everywhere inside.
    axis.legend(
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, title="(problems)"
    )


def _arrays(scores: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """k, then mean and ends of the interval in percent (nan where there is no interval)."""
    points = scores["k"]
    ends = np.array([point["ci95"] or (np.nan, np.nan) for point in points.values()], dtype=float)
    mean = np.array([point["mean"] for point in points.values()], dtype=float)
    return np.array([int(k) for k in points], dtype=float), 100 * mean, 100 * ends[:, 0], 100 * ends[:, 1]
