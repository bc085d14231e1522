"""`--track mlflow`: server and experiment are mlflow's own settings, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME ..."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

from aepo_rllib.cli.samples import verdict_words
from aepo_rllib.cli.trackers.tracker import RunInfo, Tracker

EXPERIMENT = "aepo"
"""Where MLFLOW_EXPERIMENT_NAME names none."""
RUN_TAG = "aepo_run"
"""Holds the run's own name, by which one that is resumed is found again."""
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""A run waits for a server that is gone for a minute, not for many; standard output is the run's."""
MOST_PARAMETERS = 100
"""That a server takes at a time."""


class MLflowRun(Tracker):
    """A run of MLflow; one that is resumed goes on there, too."""

    NEEDS: ClassVar = {"mlflow": "pip install 'aepo-rllib[trackers]'"}

    def __init__(self, run: RunInfo) -> None:
        from mlflow import MlflowClient, get_tracking_uri

        super().__init__(run)
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        _check_store(get_tracking_uri())
        self._client = MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or self._experiment()
        known = self._client.search_runs([experiment], f"tags.{RUN_TAG} = '{run.id}'", max_results=1) if run.id else []
        self._id = known[0].info.run_id if known else self._begin(experiment)
        self._client.update_run(self._id, status="RUNNING")
        self._client.log_dict(self._id, dict(run.config), "config.yaml")

    def log(self, step: int, time: float, metrics: Mapping[str, float]) -> None:
        """Send them."""
        from mlflow.entities import Metric

        values = [Metric(_name(key), value, timestamp=int(time * 1000), step=step) for key, value in metrics.items()]
        self._client.log_batch(self._id, metrics=values)

    def show(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Add them to the table `completions.json`."""
        columns = {
            "step": [step for _ in samples],
            "prompt": [each["prompt"] for each in samples],
            "completion": [each["completion"] for each in samples],
            "verdict": [verdict_words(each) for each in samples],
            "reward": [each["reward"] for each in samples],
        }
        self._client.log_table(self._id, columns, "completions.json")

    def finish(self, *, failed: bool) -> None:
        """Close the run."""
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _begin(self, experiment: str) -> str:
        from mlflow.entities import Param

        tags = {RUN_TAG: self.run.id} if self.run.id else {}
        name = self.run.folder.resolve().name
        run_id: str = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
        settings = [Param(_name(key), str(value)) for key, value in self.run.settings().items()]
        try:
            for start in range(0, len(settings), MOST_PARAMETERS):
                self._client.log_batch(run_id, params=settings[start : start + MOST_PARAMETERS])
        except Exception:
            self._client.delete_run(run_id)  # half a run would be found again
            raise
        return run_id

    def _experiment(self) -> str:
        """The id of the experiment, which is made where there is none; another run may do so at the same time."""
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        try:
            made: str = self._client.create_experiment(name)
            return made
        except MlflowException:
            if (there := self._client.get_experiment_by_name(name)) is None:
                raise
            found: str = there.experiment_id
            return found


def _name(key: str) -> str:
    """A key as MLflow takes it: pass@1 is pass_at_1."""
    return re.sub(r"[^\w./: -]", "_", key.replace("@", "_at_"))


def _check_store(uri: str) -> None:
    """Refuse a store that `mlflow-skinny` has no driver for, which it says with other words.

    Raises:
        ValueError: it is one.
    """
    if not uri.startswith(("http", "file", "databricks", "/")) and find_spec("sqlalchemy") is None:
        raise ValueError(f"the store is {uri}: set MLFLOW_TRACKING_URI to a server's address, or pip install mlflow")
