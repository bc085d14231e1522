"""Tables, figure and rank correlations of the study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr

LAST = 10
"""Steps whose mean entropy is what a run came to."""
RATE = 1e3
DRAWS = 2000


def write(rows: Sequence[Mapping[str, Any]], results: Path, docs: Path) -> None:
    """Results as JSON, the figure, and the tables of the page."""
    flat = [_flat(row) for row in rows]
    found = correlations(flat)
    results.write_text(json.dumps({"correlations": found, "rows": rows}, indent=1) + "\n")
    for name, figure in found.items():
        print(
            f"{name}: {figure['rho']:+.2f} ({figure['low']:+.2f} to {figure['high']:+.2f}), {figure['models']} models"
        )
    _draw(flat, docs / "forecast")
    page = docs / "forecast.md"
    text = page.read_text()
    for mark, table in (("models", _models(flat)), ("correlations", _correlations(found))):
        before, _, rest = text.partition(f"<!-- {mark} -->\n")
        text = f"{before}<!-- {mark} -->\n{table}\n<!-- /{mark} -->{rest.partition(f'<!-- /{mark} -->')[2]}"
    page.write_text(text)


PAIRS = {
    "hot rate: change of entropy, always hot": ("hot", "hot_change"),
    "GRPO's rate: change of entropy, GRPO": ("grpo", "grpo_change"),
    "cold rate: change of entropy, always cold": ("cold", "cold_change"),
    "hot rate minus cold rate: hot minus cold, after 20 steps": ("authority", "spread"),
    "highest entropy held: entropy at the end, always hot": ("highest", "hot_end"),
    "base entropy alone: entropy at the end, always hot": ("entropy", "hot_end"),
    "base entropy alone: change of entropy, always hot": ("entropy", "hot_change"),
    "base entropy alone: change of entropy, GRPO": ("entropy", "grpo_change"),
}
"""Forecast against outcome, and what the base entropy says without one."""


def correlations(flat: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Spearman's rank correlations, with 95 % intervals of a bootstrap over models."""
    found, generator = {}, np.random.default_rng(0)
    for name, (forecast, outcome) in PAIRS.items():
        pairs = np.array([(row[forecast], row[outcome]) for row in flat if outcome in row])
        if len(pairs) < 4:
            continue
        draws = [_rank(pairs[generator.integers(len(pairs), size=len(pairs))]) for _ in range(DRAWS)]
        low, high = np.nanpercentile(draws, (2.5, 97.5))
        found[name] = {"rho": _rank(pairs), "low": float(low), "high": float(high), "models": len(pairs)}
    return found


def _rank(pairs: np.ndarray) -> float:
    distinct = all(len(np.unique(column)) > 1 for column in pairs.T)
    return float(spearmanr(*pairs.T).statistic) if distinct else float("nan")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    forecast = row["forecast"]
    names = ("entropy", "grpo", "hot", "cold", "highest")
    flat = {"base": row["base"], "row": row, **{name: forecast[name]["value"] for name in names}}
    flat["authority"] = flat["hot"] - flat["cold"]
    for way, outcome in row["outcomes"].items():
        flat[f"{way}_end"] = float(np.mean(outcome["entropy"][-LAST:]))
        flat[f"{way}_change"] = flat[f"{way}_end"] - flat["entropy"]
    if "cold" in row["outcomes"]:
        hot, cold = (row["outcomes"][way]["entropy"] for way in ("hot", "cold"))
        flat["spread"] = float(np.mean(hot[len(cold) - LAST : len(cold)]) - np.mean(cold[-LAST:]))
    return flat


def _models(flat: Sequence[Mapping[str, Any]]) -> str:
    head = "| base model | entropy | content | GRPO's rate | hot rate | cold rate | hot: at the end | GRPO | cold |"
    lines = [head, "| --- " * 9 + "|"]
    for row in sorted(flat, key=lambda row: -row["hot"]):
        interval = row["row"]["forecast"]["hot"]
        cells = [
            row["base"],
            f"{row['entropy']:.3f}",
            f"{row['row']['content_share']:.0%}",
            f"{row['grpo'] * RATE:+.1f}",
            f"{row['hot'] * RATE:+.1f} ({interval['low'] * RATE:+.1f} to {interval['high'] * RATE:+.1f})",
            f"{row['cold'] * RATE:+.1f}",
            *(f"{row[f'{way}_end']:.3f}" if f"{way}_end" in row else "-" for way in ("hot", "grpo", "cold")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _correlations(found: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["| forecast: outcome | rank correlation | 95 % interval | models |", "| --- " * 4 + "|"]
    for name, figure in found.items():
        interval = f"{figure['low']:+.2f} to {figure['high']:+.2f}"
        lines.append(f"| {name} | {figure['rho']:+.2f} | {interval} | {figure['models']} |")
    return "\n".join(lines)


def _draw(flat: Sequence[Mapping[str, Any]], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    panels = (
        ("hot", "hot_change", "always hot"),
        ("grpo", "grpo_change", "GRPO"),
        ("cold", "cold_change", "always cold"),
    )
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, (rate, change, title) in zip(axes, panels, strict=True):
        rows = [row for row in flat if change in row]
        for row in rows:
            interval = row["row"]["forecast"][rate]
            axis.plot([interval["low"] * RATE, interval["high"] * RATE], [row[change]] * 2, color="0.8", zorder=1)
        axis.scatter([row[rate] * RATE for row in rows], [row[change] for row in rows], zorder=2)
        axis.axhline(0, color="0.6", linewidth=0.8)
        axis.axvline(0, color="0.6", linewidth=0.8)
        axis.set(title=title, xlabel="forecast rate, 1e-3", ylabel="change of entropy, nats per token")
    figure.savefig(folder / "forecast.png", dpi=110)
