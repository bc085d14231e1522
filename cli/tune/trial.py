"""One trial, in a process of Ray Tune's: from look to look what `aepo train --resume RUN --steps N` does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aepo_rllib.cli.run_folder import METRICS, RunFolder
from aepo_rllib.cli.study.running import FAILURE, TRIAL
from aepo_rllib.cli.study.running import run_trial as train
from aepo_rllib.cli.study.trial import EVALUATION, SCORES
from aepo_rllib.cli.tune.ledger import Ledger, Segment, read_note
from aepo_rllib.cli.tune.plan import Plan

UNTIL, STEP, VALUE = "until", "step", "value"
"""In Tune's config: where a job ends. In what is reported: how many steps are done, and what they came to."""


def run_job(config: Mapping[str, Any], plan: Plan) -> None:
    """Go on with a trial until its job ends, or a scheduler ends it; Tune's trainable.

    A look that was decided is passed: steps after it are on record.
    """
    from ray import tune

    name = config[TRIAL]
    folder = plan.root / name
    trial = read_note(plan.root / f"{name}.json")
    settings = plan.values(trial.parameters)
    begun = max(len(RunFolder(folder).read(METRICS)), trial.parent_step + 1)
    for look in (look for look in plan.looks if begun <= look <= config[UNTIL]):
        evaluation = plan.evaluation if look == plan.looks[-1] else None
        segment = Segment.of(folder, settings, look, evaluation)
        failure = train({TRIAL: name}, {name: segment})[FAILURE]
        value = measured(plan, folder)
        if not failure and math.isnan(value):
            failure = (
                f"its records tell no {plan.objective.metric}: such a run does not log it (see {folder / METRICS})"
            )
        tune.report({STEP: look, VALUE: value, FAILURE: failure})
        if failure:
            return


def measured(plan: Plan, folder: Path, step: int | None = None) -> float:
    """What a trial has come to; nan where that is not known.

    Args:
        plan: Of the search.
        folder: Of the trial's run.
        step: After how many steps; default after all.
    """
    if plan.objective.k is None:
        return plan.objective.value(RunFolder(folder).read(METRICS)[:step])
    try:
        suites = json.loads((folder / EVALUATION / SCORES).read_text(encoding="utf-8"))["suites"].values()
        scores = [suite["k"][str(plan.objective.k)]["mean"] for suite in suites]
    except (OSError, ValueError, KeyError, TypeError):
        return math.nan
    return sum(scores) / len(scores) if scores else math.nan


def value_of(plan: Plan, ledger: Ledger, name: str) -> float:
    """What a trial has come to so far, or where it was ended."""
    trial = ledger.trials[name]
    return measured(plan, ledger.folder(name), trial.ended_step or None)
