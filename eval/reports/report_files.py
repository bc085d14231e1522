"""The files an evaluation leaves on disk."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lm_eval.utils import handle_non_serializable

from aepo_rllib.eval.reports.browser import write_page
from aepo_rllib.eval.reports.evaluations import COUNTS, VOTES
from aepo_rllib.eval.reports.outcomes import ProblemOutcome, read_outcomes, votes_of
from aepo_rllib.eval.reports.plot import plot_curves
from aepo_rllib.eval.reports.shown import shown_suites
from aepo_rllib.support.locks import write_atomically

RESULTS, SUMMARY, PROBLEMS, CURVES, PAGE = "results.json", "passk.json", "problems.jsonl", "passk", "samples.html"
UNFINISHED = ".reports-"
"""How the folder begins to be called in which reports are made."""


def remove_reports(folder: Path) -> None:
    """Remove what an older evaluation has left, so that nobody takes it for this one's. Samples stay."""
    for name in (RESULTS, SUMMARY, PROBLEMS, f"{CURVES}.png", f"{CURVES}.svg", PAGE):
        (folder / name).unlink(missing_ok=True)


def write_reports(folder: Path, results: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Write every report file, then let them replace older ones. What fails before leaves the older ones.

    * results.json: lm-eval's results, without the samples;
    * passk.json: the summary;
    * problems.jsonl: one line per problem with its number of correct samples, its most frequent answers, and how often
      each answer and each way to a correct one was given, and its maj@k;
    * passk.png, passk.svg: the curves;
    * samples.html: a page to look at samples.

    Args:
        folder: Where to; it is made.
        results: lm-eval's, samples included.
        summary: The content of passk.json.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f"{UNFINISHED}*"):  # by a kill
        shutil.rmtree(left_over, ignore_errors=True)
    with TemporaryDirectory(prefix=UNFINISHED, dir=folder) as unfinished:
        _write_all(Path(unfinished), results, summary)
        for file in Path(unfinished).iterdir():
            os.replace(file, folder / file.name)


def _write_all(folder: Path, results: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    stock = {key: value for key, value in results.items() if key != "samples"}
    # An undefined score is left out: lm-eval's own readers expect numbers.
    scores = {name: _defined(part) for name, part in stock["results"].items()}
    groups = {name: _defined(part) for name, part in stock.get("groups", {}).items()}
    _write_json(folder / RESULTS, stock | {"results": scores} | ({"groups": groups} if groups else {}))
    _write_json(folder / SUMMARY, summary)
    outcomes = read_outcomes(results)
    lines = []
    for suite, rows in outcomes.items():
        scores = summary["suites"][suite]
        votes_PK = votes_of(rows, ks := [int(k) for k in scores["maj"]], seed=summary["evaluation"]["seed"])
        for outcome, votes_K in zip(rows, votes_PK, strict=True):
            line = _line(suite, scores["n"], outcome) | {VOTES: dict(zip(map(str, ks), votes_K.tolist(), strict=True))}
            lines.append(json.dumps(_finite(line), ensure_ascii=False) + "\n")
    write_atomically(folder / PROBLEMS, "".join(lines))
    for ending in ("png", "svg"):
        plot_curves(summary, folder / f"{CURVES}.{ending}")
    write_page(
        shown_suites(results, outcomes, summary), folder / PAGE, title=f"Samples of {summary['evaluation']['model']}"
    )


def _line(suite: str, asked: int, outcome: ProblemOutcome) -> dict[str, Any]:
    return {
        "suite": suite,
        "id": outcome.id,
        "digest": outcome.digest,
        "family": outcome.family,
        **({"level": outcome.level} if outcome.level else {}),
        "asked": asked,
        "n": outcome.n,
        "correct": outcome.correct,
        "truncated": outcome.truncated,
        "tokens": outcome.tokens,
        COUNTS: {name: list(counts) for name, counts in outcome.tally._asdict().items() if name != "n"},
        "answers": [
            {"answer": answer, "samples": count, "verdict": verdict} for answer, count, verdict in outcome.histogram()
        ],
    }


def _write_json(file: Path, value: Any) -> None:
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False, default=handle_non_serializable, allow_nan=False)
    write_atomically(file, text + "\n")


def _defined(scores: Mapping[str, Any]) -> dict[str, Any]:
    undefined = {key for key, value in scores.items() if isinstance(value, float) and math.isnan(value)}
    lost = undefined | {key.replace(",", "_stderr,", 1) for key in undefined}
    return {key: value for key, value in scores.items() if key not in lost}


def _finite(value: Any) -> Any:
    """The same with None for nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
