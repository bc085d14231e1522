"""From the folders of trials to the tables of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aepo_rllib import metrics
from aepo_rllib.cli.run_folder import METRICS, RunFolder
from aepo_rllib.cli.study.trial import Trial
from aepo_rllib.eval.reports.evaluations import read_evaluations
from aepo_rllib.study.study import Study
from aepo_rllib.study.tables import PROBLEMS, STEPS, TRIALS, Tables, table

RATE = f"{metrics.THROUGHPUT}/{metrics.COMPLETIONS_PER_SECOND}"
FIGURES = {
    "target": f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}",
    "read": f"{metrics.CONTROL}/{metrics.ENTROPY}",
    "reward": f"{metrics.MAIN}/{metrics.REWARD_MEAN}",
}
BASE_ENTROPY = f"{metrics.CONTROL}/{metrics.BASE_ENTROPY}"


def gather(study: Study, trials: Sequence[Trial]) -> Tables:
    """Tables of all trials that are trained; of those that are evaluated, too, their scores.

    Raises:
        ValueError: a file of a trial is damaged; names it.
    """
    trained = [trial for trial in trials if trial.is_trained()]
    steps, rows, problems = [], [], []
    for trial in trained:
        records = RunFolder(trial.folder).read(METRICS) if trial.values is not None else []
        steps += list(_steps(study, trial, records))
        scores = {}
        for which in study.checkpoints if trial.evaluation is not None else ():
            if trial.has_scores(which):
                [evaluation] = read_evaluations([trial.report(which)])
                problems += list(_problems(trial, which, evaluation.counts))
                if which == study.checkpoints[0]:
                    scores = _scores(study, evaluation.summary)
        rows.append(_row(trial, records) | scores)
    return Tables(
        steps=table(STEPS, steps, list(study.metrics or {})),
        trials=table(TRIALS, rows, list(study.scores or {})),
        problems=table(PROBLEMS, problems),
    )


def _steps(study: Study, trial: Trial, records: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    done = 0
    for record in records:
        sampled = trial.sampled([record])
        done += sampled
        yield {
            "arm": trial.arm,
            "seed": trial.seed,
            "step": record["step"],
            "completions": done,
            "seconds": sampled / record[RATE] if record.get(RATE) else math.nan,
            "entropy": next((record[name] for name in metrics.LOGGED_ENTROPIES if name in record), math.nan),
            **{column: record.get(name, math.nan) for column, name in FIGURES.items()},
            **({"target": math.nan} if trial.dial and trial.dial.stands_still else {}),
            "setting": record.get(f"{metrics.CONTROL}/{trial.dial.setting}", math.nan) if trial.dial else math.nan,
            **{column: record.get(name, math.nan) for column, name in (study.metrics or {}).items()},
        }


def _row(trial: Trial, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "arm": trial.arm,
        "seed": trial.seed,
        "base_entropy": records[0].get(BASE_ENTROPY, math.nan) if records else math.nan,
        "setting": trial.dial.setting if trial.dial else "",
        "low": trial.dial.low if trial.dial else math.nan,
        "high": trial.dial.high if trial.dial else math.nan,
    }


def _problems(
    trial: Trial, which: str, counts: Mapping[str, Mapping[str, tuple[int, int]]]
) -> Iterator[dict[str, Any]]:
    for suite, problems in counts.items():
        for problem, (n, correct) in sorted(problems.items()):
            yield {
                "arm": trial.arm,
                "seed": trial.seed,
                "checkpoint": which,
                "suite": suite,
                "problem": problem,
                "n": n,
                "correct": correct,
            }


def _scores(study: Study, summary: Mapping[str, Any]) -> dict[str, float]:
    """Means over suites of what a study asks for; nan where an evaluation does not tell."""
    found = {}
    for column, name in (study.scores or {}).items():
        values = [_inside(suite, name.split("/")) for suite in summary["suites"].values()]
        known = [float(value) for value in values if isinstance(value, int | float)]
        found[column] = sum(known) / len(known) if known and len(known) == len(values) else math.nan
    return found


def _inside(scores: Any, path: Sequence[str]) -> Any:
    """What lies in nested mappings; None where a part of the path is missing."""
    for key in path:
        scores = scores.get(key) if isinstance(scores, Mapping) else None
    return scores
