"""The lm-eval task class behind every suite."""

from __future__ import annotations

from typing import Any

from lm_eval.api.task import ConfigurableTask

from aepo_rllib.eval import models  # noqa: F401 - makes `lm_eval --model aepo-hf --tasks FILE.yaml` find it
from aepo_rllib.eval.scoring import pass_at_ks


class PassAtKTask(ConfigurableTask):
    """A task whose number of samples and values of k can be set for one run.

    lm-eval has no option for either, so they travel in the metadata: `--metadata '{"repeats": 256, "k": [1, 256]}'`
    on its command line, `TaskManager(metadata=...)` in Python.

    Args:
        config: The task's configuration, as lm-eval builds it from the YAML file.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        metadata = config.get("metadata") or {}
        config = {key: value for key, value in config.items() if key != "class"}
        config["repeats"] = int(metadata.get("repeats", config.get("repeats", 1)))
        if ks := metadata.get("k"):
            config["metric_list"] = [_with_ks(metric, ks) for metric in config["metric_list"]]
        super().__init__(config=config)


def _with_ks(metric: dict[str, Any], ks: list[int]) -> dict[str, Any]:
    """A metric entry with other values of k, where it has any."""
    return {**metric, "k": list(ks)} if metric["metric"] is pass_at_ks else metric
