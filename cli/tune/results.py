"""What a search has come to: its trials as a table, the best one's model, and how it does on unseen problems."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from aepo_rllib.cli.resuming import FINGERPRINTS
from aepo_rllib.cli.run_folder import CONFIG, HUGGINGFACE, RunFolder
from aepo_rllib.cli.tune.ledger import BASELINE, FINISHED, Ledger
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.trial import value_of
from aepo_rllib.eval.copying import copy_model
from aepo_rllib.support.locks import write_atomically
from aepo_rllib.support.sealed_folder import appearing_folder

BEST, TESTED = "best", "test"
TABLE = "trials"


def rows(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    """A row for every trial, the best first, those that have not come to an end last.

    `value` is the metric's where it has ended, or so far; nan where it is not known.
    """
    found = [
        {
            "trial": name,
            "parameters": dict(trial.parameters),
            "value": value_of(plan, ledger, name),
            "steps": trial.ended_step or ledger.steps_done(name),
            "state": ledger.state(name),
            "parent": trial.parent,
        }
        for name, trial in ledger.trials.items()
    ]
    return sorted(found, key=lambda row: (row["state"] != FINISHED, -plan.objective.rank(row["value"]), row["trial"]))


def best_of(found: list[dict[str, Any]]) -> str | None:
    """The trial that has done best with all its steps; None where none has ended."""
    ended = [row for row in found if row["state"] == FINISHED and row["trial"] != BASELINE]
    return next((row["trial"] for row in ended if not math.isnan(row["value"])), None)


def table(plan: Plan, found: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows with a column for every parameter, and the value under the metric's name."""
    keys = list(dict.fromkeys(key for row in found for key in row["parameters"]))
    frame = pd.DataFrame(
        [
            {
                "trial": row["trial"],
                **{key: row["parameters"].get(key) for key in keys},
                plan.objective.metric: row["value"],
                **{key: row[key] for key in ("steps", "state", "parent")},
            }
            for row in found
        ]
    )
    for key in keys:  # what is not a number everywhere is text everywhere, or Parquet has no type for it
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in frame[key].dropna()):
            frame[key] = [
                None if value is None else value if isinstance(value, str) else json.dumps(value)
                for value in frame[key]
            ]
    return frame


def write_tables(
    plan: Plan, ledger: Ledger, found: list[dict[str, Any]], tested: Mapping[str, Any] | None = None
) -> None:
    """trials.csv, trials.parquet and trials.json in the search's folder."""
    frame = table(plan, found)
    frame.to_csv(ledger.root / f"{TABLE}.csv", index=False, float_format="%.6g")
    frame.to_parquet(ledger.root / f"{TABLE}.parquet", index=False)
    objective = plan.objective
    told = {
        "metric": objective.metric,
        "mode": objective.mode,
        "best": best_of(found),
        "trials": [row | {"value": None if math.isnan(row["value"]) else row["value"]} for row in found],
        **({"test": tested} if tested else {}),
    }
    write_atomically(ledger.root / f"{TABLE}.json", json.dumps(told, indent=1) + "\n")


def export_best(ledger: Ledger, name: str) -> Path:
    """Copy a trial's model to `best`, with the settings that `aepo train --config` trains it again with.

    Raises:
        ValueError: its folder is no run's, or damaged.
        OSError: it cannot be written; an earlier `best` stands.
    """
    run, final = ledger.folder(name), ledger.root / BEST
    settings = {key: value for key, value in RunFolder(run).config().items() if key not in FINGERPRINTS}
    with appearing_folder(final, manifest=False) as folder:
        shutil.rmtree(folder)
        copy_model(run / HUGGINGFACE, folder, within=run)
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        (folder / CONFIG).write_text(f"# {name} of {ledger.root.name}\n{text}", encoding="utf-8")
    return final


def test_scores(plan: Plan, ledger: Ledger, name: str) -> dict[str, dict[str, float]]:
    """pass@k of a trial's model and of the baseline's, on problems that the search has not seen.

    Samples stay in the search's folder, in `test`, and are drawn once.

    Returns:
        By `best` and `baseline`: means by k. Nothing where no comparison is asked for, or the baseline has not ended.
    """
    if plan.test is None or ledger.state(BASELINE) != FINISHED:
        return {}
    from aepo_rllib.eval.plan import EvaluationPlan
    from aepo_rllib.eval.run import evaluate
    from aepo_rllib.eval.target import find_target

    scores = {}
    for label, trial in ((BEST, name), (BASELINE, BASELINE)):
        settings = dict(plan.test)
        target = find_target(
            str(ledger.folder(trial)), settings.pop("template", None), settings.pop("answer_form", None)
        )
        told = evaluate(
            EvaluationPlan(
                **settings,
                model=target.model,
                template=target.template,
                answer_form=target.answer_form,
                output=ledger.root / TESTED / trial,
            )
        )
        suites = told["suites"].values()
        ks = next(iter(suites))["k"]
        scores[label] = {k: sum(suite["k"][k]["mean"] for suite in suites) / len(suites) for k in ks}
    return scores
