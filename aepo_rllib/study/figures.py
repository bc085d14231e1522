"""A study's figures: entropy against its target, a small plot for every arm, pass@k, what entropy costs in reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from aepo_rllib.study.labels import Label, write_labels
from aepo_rllib.study.measures import running_means
from aepo_rllib.study.study import BASE_ARM
from aepo_rllib.study.summary import Summary, mean
from aepo_rllib.study.views import View

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by eyes of every kind; beyond them lines differ in style."""
STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
INK, REFERENCE, TARGET, BASE = "#0072B2", "#888888", "#D55E00", "#999999"
UNTRAINED = {"color": "#555555", "ls": ":"}
COLUMNS = 4
"""Of small plots."""


class Pace(NamedTuple):
    """How far a run has come: a column of the steps, in which unit, and in words."""

    column: str
    unit: float
    words: str


BY_STEPS, BY_COMPLETIONS = (
    Pace("step", 1, "training step"),
    Pace("completions", 1000, "completions sampled, thousands"),
)
"""Arms of equal steps stand side by side by steps, and those of equal completions by completions."""


def draw(summary: Summary, view: View, file: Path) -> bool:
    """Draw a figure with those of the arms that have something to show.

    Returns:
        Whether there were any.
    """
    import matplotlib

    matplotlib.use("Agg")
    summary = summary.seen_by(view)
    there = set(summary.evaluated if view.kind.scores else summary.arms)
    shown = [arm for arm in view.arms if arm in there]
    if not shown:
        return False
    figure = FIGURE_OF[view.kind.name](summary, shown)
    if view.highest is not None:
        figure.axes[0].set_ylim(top=view.highest)
    _save(figure, file)
    return True


def entropy(summary: Summary, arms: Sequence[str]) -> Any:
    """Running means of entropy with their targets, and of reward: the mean over seeds, and a band of all of them."""
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8.5, 7.5), sharex=True, height_ratios=[2, 1])
    for place, arm in enumerate(arms):
        style = _style(place)
        _band(top, summary, arm, "entropy", label=arm, **style)
        _band(bottom, summary, arm, "reward", **style)
        target = _targets(summary, arm)
        if target is not None:
            top.plot(*target, color=style["color"], lw=1, ls=(0, (2, 2)), alpha=0.8)
    _base_line(top, summary, arms, label=BASE_ARM)
    top.set_ylabel(f"entropy at T = 1, nats per token\n(means of {summary.window} steps; thin: targets)")
    top.set_ylim(bottom=0)
    top.legend(frameon=False, ncols=4, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    bottom.set_ylabel("mean reward")
    bottom.set_xlabel(_pace(summary).words)
    return figure


def panels(summary: Summary, arms: Sequence[str]) -> Any:
    """Entropy of every arm on a small plot of its own, over the reference's and beside its target."""
    import matplotlib.pyplot as plt

    rows = math.ceil(len(arms) / COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(11, 1.0 + 1.9 * rows), sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(arms) :]:
        axis.set_visible(False)
    for axis, arm in zip(axes.flat, arms, strict=False):
        reference = summary.study.reference
        if reference in summary.arms and arm != reference:
            _band(axis, summary, reference, "entropy", color=REFERENCE, lw=1)
        _band(axis, summary, arm, "entropy", color=INK, lw=1.6)
        if (target := _targets(summary, arm)) is not None:
            axis.plot(*target, color=TARGET, lw=1.2, ls=(0, (4, 2)))
        _base_line(axis, summary, [arm])
        axis.set_title(arm, fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0, 0].set_ylim(bottom=0)  # of all, which share it; before the last curve it would set the top as well
    figure.supylabel(f"entropy, nats per token (means of {summary.window} steps)", fontsize=9)
    figure.supxlabel(_pace(summary).words, fontsize=9)
    return figure


def passk(summary: Summary, arms: Sequence[str]) -> Any:
    """pass@k with intervals over seeds and problems."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8.5, 5.5))
    ks = np.array(summary.ks, dtype=float)
    trained = [arm for arm in arms if arm != BASE_ARM]
    for place, arm in enumerate(arms):
        means, low, high = np.array(summary.pass_at_k(arm)).T
        # Curves are set side by side by a few percent of k, or their error bars would cover one another.
        beside = ks * 2.0 ** (0.05 * (place - (len(arms) - 1) / 2))
        bars = np.clip([means - low, high - means], 0, None)
        # An arm's colour is that of the figures without the untrained model, which has one of its own.
        style = UNTRAINED if arm == BASE_ARM else _style(trained.index(arm), lw=None)
        axis.errorbar(beside, means, bars, lw=1.7, elinewidth=0.8, capsize=2, label=arm, **style)
    axis.set_xscale("log", base=2)
    axis.set_xticks(ks, [str(k) for k in summary.ks])
    axis.minorticks_off()
    axis.set_ylim(0, 1)
    axis.set_xlabel("k")
    axis.set_ylabel("pass@k, with 95 % intervals over seeds and problems")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, ncols=2, fontsize=9)
    return figure


def tradeoff(summary: Summary, arms: Sequence[str]) -> Any:
    """Reward against entropy in the second half of the runs: a point for every trial, a name for every arm."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(10, 7.5))
    labels, points = [], []
    for place, arm in enumerate(arms):
        x, y = summary.values(arm, "entropy"), summary.values(arm, "reward")
        colour = COLOURS[place % len(COLOURS)]
        axis.scatter(x, y, s=14, color=colour, alpha=0.4, lw=0)
        axis.scatter([mean(x)], [mean(y)], s=34, color=colour)
        labels.append(Label(arm, mean(x), mean(y), colour))
        points += list(zip(x, y, strict=True))
    axis.set_xlabel("entropy, nats per token, second half")
    axis.set_ylabel("mean reward, second half")
    axis.margins(x=0.12, y=0.08)
    axis.grid(alpha=0.25)
    _lay_out(figure)
    write_labels(axis, labels, np.array(points))
    return figure


FIGURE_OF: dict[str, Callable[[Summary, Sequence[str]], Any]] = {
    "entropy": entropy,
    "panels": panels,
    "passk": passk,
    "tradeoff": tradeoff,
}
"""What draws each of the figures that a study may ask for."""


def _pace(summary: Summary) -> Pace:
    return BY_COMPLETIONS if summary.study.completions is not None else BY_STEPS


def _style(place: int, lw: float | None = 1.7) -> dict[str, Any]:
    style = {"color": COLOURS[place % len(COLOURS)], "ls": STYLES[place // len(COLOURS) % len(STYLES)]}
    return style if lw is None else {**style, "lw": lw}


def _curves(summary: Summary, arm: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Places on the x axis (M,), and running means of every seed (S, M), cut to the shortest of them."""
    pace = _pace(summary)
    runs = [run for _, run in _runs(summary, arm).groupby("seed")]
    curves = [running_means(run[column].to_numpy(), summary.window) for run in runs]
    shortest = min(map(len, curves))
    ends = [run[pace.column].to_numpy(dtype=float)[summary.window - 1 :] / pace.unit for run in runs]
    x = np.mean([end[:shortest] for end in ends], axis=0)
    return x, np.array([curve[:shortest] for curve in curves])


def _runs(summary: Summary, arm: str) -> pd.DataFrame:
    steps = summary.tables.steps
    return steps[steps.arm == arm]


def _band(axis: Any, summary: Summary, arm: str, column: str, **style: Any) -> None:
    x, curves = _curves(summary, arm, column)
    if not len(x):
        return
    axis.plot(x, curves.mean(axis=0), **style)
    if len(curves) > 1:
        axis.fill_between(x, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.18, lw=0)


def _targets(summary: Summary, arm: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Places on the x axis, and the target, the mean over seeds; None where there is none."""
    runs, pace = _runs(summary, arm), _pace(summary)
    if runs.target.isna().all():
        return None
    by_step = runs.assign(x=runs[pace.column] / pace.unit).groupby("step")[["x", "target"]].mean()
    return by_step.x.to_numpy(), by_step.target.to_numpy()


def _base_line(axis: Any, summary: Summary, arms: Sequence[str], **style: Any) -> None:
    base = mean(np.concatenate([summary.values(arm, "base") for arm in arms]))
    if not math.isnan(base):
        axis.axhline(base, color=BASE, ls=":", lw=1.2, **style)


def _lay_out(figure: Any) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()


def _save(figure: Any, file: Path) -> None:
    import matplotlib.pyplot as plt

    _lay_out(figure)
    # Without the date and the version, so that the same tables give the same file.
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)
