"""`tune_reporter`: Ray Tune's table in the terminal with the columns that tell how a language model trains."""

from __future__ import annotations

import os
from typing import Any

from ray import tune
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS
from ray.tune.result import TIME_TOTAL_S, TRAINING_ITERATION

from aepo_rllib import metrics

COLUMNS = {
    TRAINING_ITERATION: "step",
    TIME_TOTAL_S: "seconds",
    f"{metrics.MAIN}/{metrics.REWARD_MEAN}": "reward",
    f"{metrics.MAIN}/{metrics.EXACT_ENTROPY}": "entropy",
    f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}": "target",
    f"{metrics.CONTROL}/{metrics.TEMPERATURE}": "T",
    f"{metrics.CONTROL}/{metrics.COEFFICIENT}": "coefficient",
    f"{metrics.EVALUATION}/{ENV_RUNNER_RESULTS}/{metrics.PASS_AT_1}": "pass@1",
}
"""Metric and heading. Tune leaves out those that no trial has: `T` and `coefficient` are of different dials."""


def tune_reporter(**options: Any) -> tune.CLIReporter:
    """A reporter for `tune.RunConfig(progress_reporter=...)`: step, reward, entropy and its target, what the dial set.

    Validation's pass@1 stands beside them after the steps that validate.

    Tune asks reporters in its older output alone, and by itself takes the newer one, so this sets the environment
    variable by which it chooses (`RAY_AIR_NEW_OUTPUT=0`), for this process.

    Args:
        options: Of `tune.CLIReporter`; `metric_columns` stand beside `COLUMNS` and win over them.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    columns = {**COLUMNS, **options.pop("metric_columns", {})}
    return tune.CLIReporter(metric_columns=columns, **options)
