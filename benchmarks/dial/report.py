"""From finished runs to tidy CSV files, tables in docs/dial.md, and plots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from variants import METRICS, SAMPLES, Run

from aepo_rllib.eval.passk import PassAtKCurve, curve_over_problems, pass_at_k_table, powers_of_two

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WINDOW = 20
"""Steps of the running means: one batch's entropy is noisy (standard deviation about 0.02)."""
BASE = "base model"
COLUMNS = {
    "step": "step",
    "main/exact_entropy": "entropy",
    "control/base_entropy": "base_entropy",
    "control/target_entropy": "target_entropy",
    "control/temperature": "temperature",
    "main/reward_mean": "reward",
    "tempered/positives": "positives",
}
COLOURS = {
    "GRPO": "#444444",
    "AEPO 0.5x": "#1f77b4",
    "AEPO 0.75x": "#2a9d5c",
    "AEPO 1.0x": "#e8b06f",
    "AEPO 1.0x, alpha 2": "#d9622b",
    "AEPO 0.5x, alpha 2": "#8fbbdd",
    "T_high only": "#c0392b",
    "T = 1 only": "#8a6d3b",
    "T_low only": "#4a90c2",
    "importance-corrected": "#b0478f",
    "both signs": "#5a5fcf",
    BASE: "#999999",
}


def write(runs: Sequence[Run], base: Path, docs: Path) -> None:
    """Write everything the finished runs allow."""
    folder = docs / "dial"
    folder.mkdir(parents=True, exist_ok=True)
    steps = pd.concat([_records(run) for run in runs], ignore_index=True)
    steps.to_csv(folder / "runs.csv", index=False, float_format="%.5g")
    names: dict[str, list[str]] = {}
    for run in runs:
        group = names.setdefault(run.variant.group, [])
        if run.variant.name not in group:
            group.append(run.variant.name)
    summary = summarize(steps)
    for group, members in names.items():
        replace_section(docs / "dial.md", group, _runs_table(summary, members))
    plot_entropy(steps, names["main"], folder / "entropy.png")
    compared = ["GRPO", "AEPO 1.0x, alpha 2", *names.get("ablations", [])]
    plot_entropy(steps, compared, folder / "ablations.png", seeds=[int(steps.seed.min())])
    curves = pass_at_k_curves(runs, base)
    if curves:
        _curve_frame(curves).to_csv(folder / "passk.csv", index=False, float_format="%.5g")
        replace_section(docs / "dial.md", "passk", _curve_table(curves))
        plot_curves(curves, folder / "passk.png")


def _records(run: Run) -> pd.DataFrame:
    """One row per training step."""
    frame = pd.read_json(run.folder / METRICS, lines=True)
    frame = frame[[name for name in COLUMNS if name in frame]].rename(columns=COLUMNS)
    frame = frame[frame.step <= run.steps]
    frame.insert(0, "run", run.variant.name)
    frame.insert(1, "seed", run.seed)
    return frame.reindex(columns=["run", "seed", *COLUMNS.values()])


# --- Tables -------------------------------------------------------------------------------------------------------


def summarize(steps: pd.DataFrame) -> pd.DataFrame:
    """One row per run and seed. The second half of a run is where its entropy should have settled."""
    rows = []
    for (name, seed), run in steps.groupby(["run", "seed"], sort=False):
        smooth = run.entropy.rolling(WINDOW).mean()
        half = run.step > run.step.max() / 2
        target = run.target_entropy.iloc[-1]
        # Windows that lie in the second half as a whole.
        settled = smooth[run.step >= run.step.max() / 2 + WINDOW]
        rows.append(
            {
                "run": name,
                "seed": seed,
                "base": run.base_entropy.iloc[0],
                "target": target,
                "final": smooth.iloc[-1],
                "entropy": run.entropy[half].mean(),
                "error": ((settled - target).abs() / target).max(),
                "hot": (run.temperature[half] > 1).mean() if run.temperature.notna().any() else np.nan,
                "reward": run.reward.mean(),
                "reward_half": run.reward[half].mean(),
            }
        )
    summary = pd.DataFrame(rows).set_index(["run", "seed"])
    for column in ("reward", "reward_half"):
        reference = summary[column].xs("GRPO", level="run")
        summary[f"{column}_paired"] = summary[column] - summary.index.get_level_values("seed").map(reference)
    return summary


def _runs_table(summary: pd.DataFrame, names: Sequence[str]) -> str:
    """Per run, one figure per seed."""
    lines = [
        "| run | target | entropy, second half | largest error of a 20-step mean | T_high share | entropy at the end | "
        "reward, whole run (minus GRPO's) | reward, second half (minus GRPO's) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        rows = summary.loc[name]
        dialled = name.startswith("AEPO")
        cells = [
            name,
            _each(rows.target) if dialled else "-",
            _each(rows.entropy),
            _each(100 * rows.error, "{:.1f} %") if dialled else "-",
            _each(100 * rows.hot, "{:.0f} %") if rows.hot.notna().any() else "-",
            _each(rows.final),
            *(_paired(rows[column], rows[f"{column}_paired"], name) for column in ("reward", "reward_half")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _each(values: pd.Series, form: str = "{:.3f}") -> str:
    return ", ".join(form.format(value) for value in values)


def _paired(values: pd.Series, differences: pd.Series, name: str) -> str:
    text = _each(values)
    if name == "GRPO":
        return text
    spread = f" ± {differences.std(ddof=1) / len(differences) ** 0.5:.3f}" if len(differences) > 1 else ""
    return f"{text} ({differences.mean():+.3f}{spread})"


def replace_section(page: Path, name: str, text: str) -> None:
    """Put `text` between the page's `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: the page has no such section.
    """
    content = page.read_text(encoding="utf-8") if page.is_file() else f"<!-- {name} -->\n<!-- /{name} -->\n"
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start not in content or end not in content:
        raise ValueError(f"{page} has no section {start} ... {end}")
    pattern = re.compile(f"{re.escape(start)}.*{re.escape(end)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{start}\n{text}\n{end}", content), encoding="utf-8")


# --- pass@k -------------------------------------------------------------------------------------------------------


def pass_at_k_curves(runs: Sequence[Run], base: Path) -> dict[str, PassAtKCurve]:
    """By run: pass@k averaged over its seeds, with intervals over problems."""
    folders: dict[str, list[Path]] = {BASE: [base]}
    for run in runs:
        folders.setdefault(run.variant.name, []).append(run.evaluation)
    ks = powers_of_two(SAMPLES)
    curves = {}
    for name, places in folders.items():
        tables = [_table(place / "problems.jsonl", ks) for place in places if (place / "problems.jsonl").is_file()]
        if tables:
            curves[name] = curve_over_problems(np.mean(tables, axis=0), ks)
    return curves


def _table(file: Path, ks: Sequence[int]) -> np.ndarray:
    """pass@k of every problem (P, K), problems in the order of their ids."""
    lines = sorted((json.loads(line) for line in file.read_text().splitlines()), key=lambda line: line["id"])
    return pass_at_k_table(lines[0]["n"], [line["correct"] for line in lines], ks)


def _curve_frame(curves: Mapping[str, PassAtKCurve]) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame({"run": name, "k": c.ks, "pass": c.mean, "se": c.se, "low": c.low, "high": c.high})
            for name, c in curves.items()
        ]
    )


def _curve_table(curves: Mapping[str, PassAtKCurve]) -> str:
    shown = [0, 2, 4, 6, 8, 10]  # k = 1, 4, 16, ... 1024
    ks = next(iter(curves.values())).ks
    lines = [
        f"| model | {' | '.join(f'pass@{ks[i]}' for i in shown)} |",
        f"| --- |{' --- |' * len(shown)}",
    ]
    for name, curve in curves.items():
        cells = [f"{curve.mean[i]:.3f} [{curve.low[i]:.2f}, {curve.high[i]:.2f}]" for i in shown]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


# --- Plots --------------------------------------------------------------------------------------------------------


def plot_entropy(steps: pd.DataFrame, names: Sequence[str], file: Path, *, seeds: Sequence[int] | None = None) -> None:
    """Entropy (20-step means) against its target, and reward, one line per seed."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8.5, 7), sharex=True, height_ratios=[2, 1])
    chosen = steps[steps.run.isin(names) & (steps.seed.isin(seeds) if seeds is not None else True)]
    for name in names:
        runs = chosen[chosen.run == name]
        for place, (_, run) in enumerate(runs.groupby("seed")):
            label = name if place == 0 else None
            smooth = run[["entropy", "reward"]].rolling(WINDOW, min_periods=WINDOW).mean()
            top.plot(run.step, smooth.entropy, color=COLOURS[name], lw=1.6, alpha=0.9, label=label)
            bottom.plot(run.step, smooth.reward, color=COLOURS[name], lw=1.2, alpha=0.9)
        if name.startswith("AEPO") and len(runs):
            target = runs.groupby("seed").target_entropy.last().mean()
            top.axhline(target, color=COLOURS[name], ls="--", lw=1)
            top.annotate("target", (1.0, target), xycoords=("axes fraction", "data"), fontsize=8, va="center")
    top.axhline(chosen.base_entropy.mean(), color=COLOURS[BASE], ls=":", lw=1.5, label=BASE)
    top.set_ylabel(f"entropy at T = 1, nats per token\n(means of {WINDOW} steps)")
    top.set_ylim(bottom=0)
    top.legend(frameon=False, ncols=5, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    bottom.set_ylabel("mean reward")
    bottom.set_xlabel("training step")
    _save(figure, file)


def plot_curves(curves: Mapping[str, PassAtKCurve], file: Path) -> None:
    """pass@k with intervals."""
    figure, axis = plt.subplots(figsize=(8.5, 5))
    for place, (name, curve) in enumerate(curves.items()):
        # Curves are set side by side by a few percent of k, or their error bars would cover one another.
        ks = np.array(curve.ks) * 2.0 ** (0.06 * (place - (len(curves) - 1) / 2))
        bars = np.clip([curve.mean - curve.low, curve.high - curve.mean], 0, None)
        axis.errorbar(ks, curve.mean, bars, color=COLOURS[name], lw=1.8, elinewidth=0.8, capsize=2, label=name)
    axis.set_xscale("log", base=2)
    ticks = next(iter(curves.values())).ks
    axis.set_xticks(ticks, [str(k) for k in ticks])
    axis.minorticks_off()
    axis.set_ylim(0, 1)
    axis.set_xlabel("k")
    axis.set_ylabel("pass@k, with 95 % interval over problems")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    _save(figure, file)


def _save(figure: plt.Figure, file: Path) -> None:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)
