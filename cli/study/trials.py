"""The trials of a study as trials of Ray Tune: some side by side, each in a process of its own.

Tune hands them out and starts a trial again whose process has died. Where each stands is written in its own folder, so
Tune's own notes are not needed to go on: what is left is a search of its own.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aepo_rllib.cli.ray_cluster import ray_cluster
from aepo_rllib.cli.study.running import FAILURE, TRIAL, run_trial
from aepo_rllib.cli.study.trial import Trial

if TYPE_CHECKING:
    from ray.tune import ResultGrid

NOTES = ".tune"
"""Tune's own folder inside a study's."""
RESTARTS = 1
"""Of a trial whose process has died."""
QUIET = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths in settings are the user's
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run_trials(trials: Sequence[Trial], root: Path, *, jobs: int) -> dict[str, str]:
    """Run trials to their end.

    Args:
        trials: Those that are not finished.
        root: The study's folder.
        jobs: How many at a time; never more than there are CPUs for.

    Returns:
        What has gone wrong, by trial's name; those that were interrupted are not named.

    Raises:
        aepo_rllib.cli.errors.InputError: Ray cannot be started or joined.
    """
    from ray import tune

    by_name = {trial.name: trial for trial in trials}

    def bundles(config: Mapping[str, str]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([dict(bundle) for bundle in by_name[config[TRIAL]].bundles])

    trainable = tune.with_resources(tune.with_parameters(run_trial, trials=by_name), bundles)
    results = fit(trainable, root, jobs=jobs, param_space={TRIAL: tune.grid_search(list(by_name))})
    failures = {}
    for result in results:
        name = result.config[TRIAL] if result.config else Path(result.path).name
        if result.error:
            failures[name] = f"its process has died, {RESTARTS + 1} times"
        elif (result.metrics or {}).get(FAILURE):
            failures[name] = result.metrics[FAILURE]
    return failures


def fit(
    trainable: Any, root: Path, *, jobs: int, param_space: Mapping[str, Any] | None = None, **search: Any
) -> ResultGrid:
    """Have Tune run trials, whose folders tell what they have done: Tune's own notes are thrown away beforehand.

    Args:
        trainable: What runs a trial, with its resources; its config names the trial under `TRIAL`.
        root: Where Tune's notes go.
        jobs: How many at a time.
        param_space: The trials' configs, where no searcher makes them.
        search: Further settings of `tune.TuneConfig`.

    Raises:
        aepo_rllib.cli.errors.InputError: Ray cannot be started or joined.
    """
    os.environ.update({key: value for key, value in QUIET.items() if key not in os.environ})
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a traceback for every process that has died
    notes = root.resolve() / NOTES
    shutil.rmtree(notes, ignore_errors=True)
    with ray_cluster():
        return tune.Tuner(
            trainable,
            param_space=param_space and dict(param_space),
            tune_config=tune.TuneConfig(
                max_concurrent_trials=jobs,
                reuse_actors=True,  # torch is loaded once for all trials of a process
                trial_dirname_creator=lambda trial: f"{trial.config[TRIAL]}_{trial.trial_id}",
                **search,
            ),
            run_config=tune.RunConfig(
                name=NOTES,
                storage_path=str(notes.parent),
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                verbose=0,
            ),
        ).fit()
