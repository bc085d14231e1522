"""What an evaluation leaves behind: a table on screen, and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval.utils import handle_non_serializable
from rich.box import SIMPLE_HEAD
from rich.table import Table

from aepo_rllib.eval.outcomes import read_outcomes
from aepo_rllib.eval.plot import plot_curves

RESULTS, SUMMARY, PROBLEMS, CURVES = "results.json", "passk.json", "problems.jsonl", "passk.png"
RATES = {"no_answer": "no answer", "truncated": "cut off", "timed_out": "timed out", "grader_crashed": "crashed"}


def write_reports(folder: Path, results: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Path]:
    """Write every report file, replacing older ones.

    * results.json: lm-eval's results, without the samples;
    * passk.json: the summary;
    * problems.jsonl: one line per problem with its number of correct samples;
    * passk.png: the curves.

    Args:
        folder: Where to; it is made.
        results: lm-eval's, samples included.
        summary: From `aepo_rllib.eval.outcomes.summarize`.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stock = {key: value for key, value in results.items() if key != "samples"}
    _write_json(folder / RESULTS, stock)
    _write_json(folder / SUMMARY, summary)
    lines = [
        {
            "suite": suite,
            "id": outcome.id,
            "family": outcome.family,
            "n": len(outcome.verdicts),
            "correct": outcome.correct,
        }
        for suite, outcomes in read_outcomes(results).items()
        for outcome in outcomes
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / PROBLEMS).write_text(text, encoding="utf-8")
    plot_curves(summary, folder / CURVES)
    return [folder / name for name in (RESULTS, SUMMARY, PROBLEMS, CURVES)]


def suite_table(suite: str, scores: Mapping[str, Any]) -> Table:
    """One suite's pass@k in percent with 95 % intervals: a row per k, a column for all problems and per family."""
    columns = {"all": scores, **scores["families"]} if len(scores["families"]) > 1 else {"all": scores}
    table = Table(
        title=f"{suite}: pass@k in % [95 % interval over problems]",
        caption=_caption(scores),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
    )
    table.add_column("\nproblems", no_wrap=True)
    for name, part in columns.items():
        table.add_column(f"{name}\n{part['problems']}", justify="right")
    ks = list(scores["k"])
    for k in ks:
        table.add_row(f"pass@{k}", *(_cell(part["k"][k]) for part in columns.values()), end_section=k == ks[-1])
    for rate, label in RATES.items():
        shown = [part[rate] for part in columns.values()]
        if any(shown) or rate == "no_answer":
            table.add_row(label, *("" if value is None else f"{100 * value:.1f}" for value in shown))
    return table


def _cell(point: Mapping[str, Any]) -> str:
    interval = "" if point["ci95"] is None else " [{:.0f}-{:.0f}]".format(*(100 * end for end in point["ci95"]))
    # "100", not "100.0": five columns then fit into 80 characters.
    return f"{100 * point['mean']:.1f}{interval}".replace("100.0", "100")


def _caption(scores: Mapping[str, Any]) -> str:
    n, largest = scores["n"], max(map(int, scores["k"]))
    noisy = (
        f"; pass@k above k = {n // 2} is noisy, n = {2 * largest} would steady it" if largest > max(n // 2, 1) else ""
    )
    return f"n = {n} samples per problem at temperature {scores.get('temperature')}{noisy}"


def _write_json(file: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=handle_non_serializable)
    file.write_text(text + "\n", encoding="utf-8")
