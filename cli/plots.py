"""Plots of a run: entropy with its target and temperature, and reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aepo_rllib import metrics

WINDOW = 20
"""Steps of the running mean: one batch's estimate is noisy."""
INK, FAINT, TARGET, HOT, COLD = "#1f5f8b", "#a9c6da", "#c0392b", "#e0913a", "#4a90c2"


def write_plots(records: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw entropy.png and reward.png from a run's metrics; nothing when there are none."""
    if not records:
        return []
    import matplotlib

    matplotlib.use("Agg")
    return [_entropy_plot(records, folder / "entropy.png"), _reward_plot(records, folder / "reward.png")]


def running_mean(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Mean of the last `window` values at every place (fewer at the start)."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _column(records: Sequence[dict[str, Any]], *path: str) -> np.ndarray:
    return np.array([record.get("/".join(path), np.nan) for record in records], dtype=float)


def _entropy_plot(records: Sequence[dict[str, Any]], file: Path) -> Path:
    import matplotlib.pyplot as plt

    step = _column(records, "step")
    entropy = _column(records, metrics.MAIN, metrics.EXACT_ENTROPY)
    label = "exact entropy at T = 1"
    if np.isnan(entropy).all():
        entropy, label = (
            _column(records, metrics.MAIN, metrics.SAMPLED_SURPRISAL),
            "sampled surprisal at T = 1",
        )
    target = _column(records, metrics.CONTROL, metrics.TARGET_ENTROPY)
    temperature = _column(records, metrics.CONTROL, metrics.TEMPERATURE)
    dialled = not np.isnan(target).all()
    figure, axes = plt.subplots(
        2 if dialled else 1,
        1,
        figsize=(8, 5),
        sharex=True,
        squeeze=False,
        height_ratios=[3, 1] if dialled else [1],
    )
    top = axes[0, 0]
    top.plot(step, entropy, color=FAINT, lw=1)
    top.plot(step, running_mean(entropy), color=INK, lw=2, label=f"{label}, mean of {WINDOW} steps")
    if dialled:
        top.plot(step, target, color=TARGET, lw=1.5, ls="--", label="target")
        bottom = axes[1, 0]
        colours = np.where(temperature > 1, HOT, COLD)
        bottom.scatter(step, temperature, c=colours, s=8)
        bottom.axhline(1.0, color="grey", lw=0.8)
        bottom.set_ylabel("temperature")
        bottom.margins(y=0.3)
    base = _column(records, metrics.CONTROL, metrics.BASE_ENTROPY)
    top.axhline(base[0], color="grey", lw=1, ls=":", label="base model")
    top.set_ylabel("nats per token")
    top.set_ylim(bottom=0)
    top.legend(frameon=False)
    axes[-1, 0].set_xlabel("training step")
    return _save(figure, file)


def _reward_plot(records: Sequence[dict[str, Any]], file: Path) -> Path:
    import matplotlib.pyplot as plt

    step = _column(records, "step")
    figure, axis = plt.subplots(figsize=(8, 4))
    for stream, faint, ink in ((metrics.MAIN, FAINT, INK), (metrics.TEMPERED, "#f0d2b0", HOT)):
        reward = _column(records, stream, metrics.REWARD_MEAN)
        if np.isnan(reward).all():
            continue
        axis.plot(step, reward, color=faint, lw=1)
        axis.plot(step, running_mean(reward), color=ink, lw=2, label=f"{stream} completions, mean of {WINDOW} steps")
    axis.set_xlabel("training step")
    axis.set_ylabel("mean reward")
    axis.set_ylim(0, 1)
    axis.legend(frameon=False)
    return _save(figure, file)


def _save(figure: Any, file: Path) -> Path:
    import matplotlib.pyplot as plt

    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    plt.close(figure)
    return file
