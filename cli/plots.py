"""Plots of a run: entropy with its target and what its dial did, and reward with validation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from aepo_rllib import metrics
from aepo_rllib.control.dial_loop import NEUTRAL
from aepo_rllib.eval.reports.plot import plain_pyplot
from aepo_rllib.support.terminal import visible

WINDOW = 20
"""Steps of the running mean, of a run that is long enough: one batch's estimate is noisy."""
INK, FAINT, TARGET, HOT, COLD = "#1f5f8b", "#a9c6da", "#c0392b", "#e0913a", "#4a90c2"
VALIDATION_INK = "#1c7a43"
TITLE_WIDTH = 100
"""Characters that have room above a plot."""
ENTROPY_PLOT, REWARD_PLOT = "entropy.png", "reward.png"


def write_plots(records: Sequence[dict[str, Any]], folder: Path, *, title: str) -> None:
    """Draw entropy.png and reward.png from a run's metrics; nothing when there are none.

    Args:
        records: One a step.
        folder: Of the run.
        title: Names it, in both.

    Raises:
        OSError: they cannot be written; older ones stand.
    """
    if not records:
        return
    with plain_pyplot() as plt:
        for name, draw in ((ENTROPY_PLOT, _entropy_plot), (REWARD_PLOT, _reward_plot)):
            figure = draw(plt, records)
            figure.suptitle(fill(visible(title), TITLE_WIDTH), fontsize=10)
            figure.axes[-1].set_xlabel(f"training step (bold: running means of {window_of(len(records))} steps)")
            # Above the axes, for curves go everywhere inside.
            figure.axes[0].legend(frameon=False, ncols=3, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))
            save(plt, figure, folder / name)


def window_of(steps: int) -> int:
    """Steps of the running mean in a run of so many: at most a fifth, or it would be a flat line."""
    return min(WINDOW, max(1, steps // 5))


def running_mean(values: np.ndarray, window: int | None = None) -> np.ndarray:
    """Mean of the `window` values around every place, before it and after, fewer at both ends; see `window_of`."""
    window = window_of(len(values)) if window is None else window
    sums = np.cumsum(np.insert(values, 0, 0.0))
    places = np.arange(len(values))
    starts = np.maximum(places - window // 2, 0)
    ends = np.minimum(places + (window + 1) // 2, len(values))
    return (sums[ends] - sums[starts]) / (ends - starts)


def column(records: Sequence[dict[str, Any]], *path: str) -> np.ndarray:
    """A metric, step by step; nan where a step has none."""
    return np.array([record.get("/".join(path), np.nan) for record in records], dtype=float)


def save(plt: Any, figure: Any, file: Path) -> None:
    """Write a figure, replacing an older one when the new one is whole: somebody may be looking at it.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    try:
        figure.savefig(unfinished, dpi=130, format=file.suffix[1:] or "png")
        unfinished.replace(file)
    finally:
        plt.close(figure)
        unfinished.unlink(missing_ok=True)


def entropy_column(records: Sequence[dict[str, Any]]) -> tuple[np.ndarray, str]:
    """Entropy at T = 1, exact where the engine sees logits, and what it is called."""
    entropy = column(records, metrics.MAIN, metrics.EXACT_ENTROPY)
    if np.isnan(entropy).all():
        return column(records, metrics.MAIN, metrics.SAMPLED_SURPRISAL), "sampled surprisal at T = 1"
    return entropy, "exact entropy at T = 1"


def dial_column(records: Sequence[dict[str, Any]]) -> tuple[np.ndarray, str] | None:
    """What the dial was turned to, and what that is called; None where there is none."""
    for name in NEUTRAL:
        setting = column(records, metrics.CONTROL, name)
        if not np.isnan(setting).all():
            return setting, name
    return None


def _entropy_plot(plt: Any, records: Sequence[dict[str, Any]]) -> Any:
    step, (entropy, label), dial = column(records, "step"), entropy_column(records), dial_column(records)
    figure, axes = plt.subplots(
        2 if dial else 1, 1, figsize=(8, 5), sharex=True, squeeze=False, height_ratios=[3, 1] if dial else [1]
    )
    top = axes[0, 0]
    top.plot(step, entropy, color=FAINT, lw=1)
    top.plot(step, running_mean(entropy), color=INK, lw=2, label=label)
    target = column(records, metrics.CONTROL, metrics.TARGET_ENTROPY)
    if not np.isnan(target).all():
        top.plot(step, target, color=TARGET, lw=1.5, ls="--", label="target")
    if dial:
        setting, name = dial
        bottom = axes[1, 0]
        bottom.scatter(step, setting, c=np.where(setting > NEUTRAL[name], HOT, COLD), s=8)
        bottom.axhline(NEUTRAL[name], color="grey", lw=0.8)
        bottom.set_ylabel(name.replace("_", " "))
        bottom.margins(y=0.3)
    base = column(records, metrics.CONTROL, metrics.BASE_ENTROPY)[0]
    if not np.isnan(base):
        top.axhline(base, color="grey", lw=1, ls=":", label="base model")
    top.set_ylabel("nats per token")
    top.set_ylim(bottom=0)
    return figure


def _reward_plot(plt: Any, records: Sequence[dict[str, Any]]) -> Any:
    step = column(records, "step")
    figure, axis = plt.subplots(figsize=(8, 4))
    everything = []
    for stream, faint, ink in ((metrics.MAIN, FAINT, INK), (metrics.TEMPERED, "#f0d2b0", HOT)):
        reward = column(records, stream, metrics.REWARD_MEAN)
        if np.isnan(reward).all():
            continue
        everything.append(reward)
        axis.plot(step, reward, color=faint, lw=1)
        axis.plot(step, running_mean(reward), color=ink, lw=2, label=f"{stream} completions")
    score = column(records, metrics.EVALUATION, metrics.PASS_AT_1)
    there = ~np.isnan(score)
    if there.any():
        axis.plot(step[there], score[there], color=VALIDATION_INK, lw=1.2, marker="o", ms=5, label="validation pass@1")
    axis.set_ylabel("mean reward, pass@1")
    if all(np.nanmin(reward) >= 0 and np.nanmax(reward) <= 1 for reward in everything):
        axis.set_ylim(0, 1)
    return figure
