"""Training curves of several runs over one another; runs that differ in their seed alone are one curve with a band."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aepo_rllib import metrics
from aepo_rllib.cli.live_line import VALIDATION
from aepo_rllib.cli.resuming import FINGERPRINTS, FREE
from aepo_rllib.cli.run_folder import METRICS, RunFolder
from aepo_rllib.support.terminal import visible

if TYPE_CHECKING:
    import pandas as pd

PANELS: Mapping[str, tuple[str, ...]] = {
    "entropy": metrics.LOGGED_ENTROPIES,
    "reward": (f"{metrics.MAIN}/{metrics.REWARD_MEAN}",),
    "pass@1": (VALIDATION,),
}
"""Short names of metrics, and what they stand for: the first that a run has."""
WORDS = {
    "entropy": "entropy at T = 1,\nnats per token",
    "reward": "mean reward",
    "pass@1": "validation pass@1",
}
TARGET = f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}"
METHOD = "algo"
"""The setting that needs no name."""
MOST_KEYS = 3
"""Settings that a curve is called by."""


@dataclass
class Curve:
    """Runs that are drawn as one.

    Attributes:
        label: In the legend.
        folder: Of the first of them.
        settings: What they share; None where the user has called them by one name.
        runs: Their records, one a step.
    """

    label: str
    folder: Path
    settings: Mapping[str, Any] | None = None
    runs: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)

    def takes(self, label: str | None, settings: Mapping[str, Any]) -> bool:
        """Whether a run belongs here."""
        return self.settings == settings if label is None else self.settings is None and self.label == label

    def column(self, names: Sequence[str], window: int) -> pd.DataFrame:
        """A metric, a row a step and a column a run.

        Args:
            names: The first that a run has.
            window: Steps of the running mean, centred; of a metric that only some steps have there is none.
        """
        import pandas as pd

        return pd.DataFrame(dict(enumerate(_column(records, names, window) for records in self.runs)))


def _column(records: Sequence[Mapping[str, Any]], names: Sequence[str], window: int) -> pd.Series:
    import pandas as pd

    name = next((name for name in names if any(name in record for record in records)), names[0])
    values = {record["step"]: record[name] for record in records if name in record}
    series = pd.Series(values, dtype=float)
    whole = len(series) == len(records)
    return series.rolling(window, center=True, min_periods=1).mean() if whole else series


def read_curves(runs: Sequence[tuple[str | None, Path]], by: Sequence[str] = ("seed",)) -> list[Curve]:
    """Put runs together.

    Args:
        runs: Label and folder of each; those of one label are one curve, those without are told apart by their
            settings, and called by what differs.
        by: Settings that may differ within a curve.

    Raises:
        ValueError: a folder is no run, is damaged, or has no finished step; names it.
    """
    curves: list[Curve] = []
    for label, path in runs:
        folder = RunFolder(path)
        config, records = folder.config(), folder.read(METRICS)
        if not records:
            raise ValueError(f"{path} has no finished step yet")
        settings = {key: value for key, value in config.items() if key not in FREE and key not in by}
        curve = next((curve for curve in curves if curve.takes(label, settings)), None)
        if curve is None:
            curves.append(curve := Curve(label or "", path, None if label is not None else settings))
        curve.runs.append(records)
    _name([curve for curve in curves if curve.settings is not None])
    for curve in curves:
        if len(curve.runs) > 1:
            curve.label += f" ({len(curve.runs)} runs)"
    return curves


def _name(curves: Sequence[Curve]) -> None:
    """Call curves by the settings that tell them apart, of those that all have; by a folder where none do."""
    configs = [curve.settings or {} for curve in curves]
    shared = set.intersection(*map(set, configs)) - set(FINGERPRINTS) if configs else set()
    keys = [key for key in sorted(shared) if any(config[key] != configs[0][key] for config in configs)]
    keys.sort(key=lambda key: key != METHOD)
    words = [
        " ".join(str(config[key]) if key == METHOD else f"{key}={config[key]}" for key in keys[:MOST_KEYS])
        for config in configs
    ]
    for curve, word in zip(curves, words, strict=True):
        curve.label = word if word and words.count(word) == 1 else curve.folder.name or str(curve.folder)


def known_metrics(curves: Sequence[Curve]) -> set[str]:
    """Metrics that a run has, and the short names of such."""
    there = {key for curve in curves for records in curve.runs for record in records for key in record}
    return there - {"step", "time"} | {short for short, names in PANELS.items() if there & set(names)}


def check_metrics(names: Sequence[str], curves: Sequence[Curve]) -> None:
    """Refuse a metric that no run has.

    Raises:
        ValueError: there is none of this name; names the nearest.
    """
    there = known_metrics(curves)
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, sorted(there), n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else "docs/metrics.md lists them"
            raise ValueError(f"no run has the metric {name!r}; {hint}")


def draw_overlay(curves: Sequence[Curve], names: Sequence[str], file: Path, *, window: int) -> None:
    """Draw a panel for every metric: the mean over the runs of a curve, and a band of all of them.

    Args:
        curves: What is compared.
        names: Metrics, or short names of `PANELS`.
        file: The picture; its ending names the format.
        window: Steps of the running means.

    Raises:
        OSError: it cannot be written.
    """
    from aepo_rllib.cli.plots import save
    from aepo_rllib.eval.reports.plot import plain_pyplot
    from aepo_rllib.study.figures import COLOURS, STYLES

    with plain_pyplot() as plt:
        figure, axes = plt.subplots(len(names), 1, figsize=(8.5, 1 + 2.8 * len(names)), sharex=True, squeeze=False)
        for axis, name in zip(axes[:, 0], names, strict=True):
            for place, curve in enumerate(curves):
                style = {"color": COLOURS[place % len(COLOURS)], "ls": STYLES[place // len(COLOURS) % len(STYLES)]}
                _draw_curve(axis, curve, PANELS.get(name, (name,)), window, style)
                if name == "entropy":
                    target = curve.column((TARGET,), 1).mean(axis=1)
                    axis.plot(target.index, target, color=style["color"], lw=1, ls=(0, (2, 2)), alpha=0.8)
            axis.set_ylabel(WORDS.get(name, name))
            axis.grid(alpha=0.25)
        axes[-1, 0].set_xlabel(f"training step (running means of {window} steps; bands: all runs of a curve)")
        handles = [
            plt.Line2D([], [], color=COLOURS[place % len(COLOURS)], ls=STYLES[place // len(COLOURS) % len(STYLES)])
            for place in range(len(curves))
        ]
        labels = [visible(curve.label) for curve in curves]
        columns = max(1, min(len(curves), 100 // (6 + max(map(len, labels)))))
        # Above the axes, for curves go everywhere inside.
        axes[0, 0].legend(
            handles, labels, frameon=False, ncols=columns, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0)
        )
        save(plt, figure, file)


def _draw_curve(axis: Any, curve: Curve, names: Sequence[str], window: int, style: Mapping[str, Any]) -> None:
    columns = curve.column(names, window)
    mean = columns.mean(axis=1)
    if mean.empty:
        return
    sparse = len(mean) < max(len(records) for records in curve.runs)
    axis.plot(mean.index, mean, lw=1.7, marker="o" if sparse else None, ms=4, **style)
    if columns.shape[1] > 1:
        low, high = columns.min(axis=1), columns.max(axis=1)
        axis.fill_between(mean.index, low, high, color=style["color"], alpha=0.18, lw=0)
