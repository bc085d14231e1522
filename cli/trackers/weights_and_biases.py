"""`--track wandb`: project, entity, mode and server are wandb's own settings, WANDB_PROJECT, WANDB_MODE=offline ..."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aepo_rllib.cli.samples import verdict_words
from aepo_rllib.cli.saying import QUIET, loudness
from aepo_rllib.cli.trackers.tracker import RunInfo, Tracker

PROJECT = "aepo"
"""Where WANDB_PROJECT names none."""
STEP = "step"
PATIENCE_S = 600.0
"""How long the end of a run waits for what is still to be sent; all of it lies in the folder, for `wandb sync`."""
COLUMNS = [STEP, "prompt", "completion", "verdict", "reward"]


class WeightsAndBiases(Tracker):
    """A run of Weights & Biases; one that is resumed goes on there, too. Its files lie in the run's folder."""

    NEEDS: ClassVar = {"wandb": "pip install 'aepo-rllib[trackers]'"}

    def __init__(self, run: RunInfo) -> None:
        import wandb

        super().__init__(run)
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id or None,
            name=os.environ.get("WANDB_NAME", run.folder.resolve().name),
            dir=os.environ.get("WANDB_DIR", str(run.folder)),
            config=dict(run.config),
            resume="allow",
            reinit="create_new",  # a process may train several runs, one after the other
            settings=wandb.Settings(
                console="off",  # the screen has a live line
                silent=loudness() == QUIET,
                finish_timeout=PATIENCE_S,
            ),
        )
        # wandb's own steps never go back, as those of a run that is resumed do.
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def log(self, step: int, time: float, metrics: Mapping[str, float]) -> None:
        """Send them."""
        self._run.log({**metrics, STEP: step})

    def show(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Send them as a table."""
        rows = [[step, each["prompt"], each["completion"], verdict_words(each), each["reward"]] for each in samples]
        self._run.log({"completions": self._wandb.Table(columns=COLUMNS, data=rows), STEP: step})

    def finish(self, *, failed: bool) -> None:
        """Wait until all is sent."""
        self._run.finish(exit_code=int(failed))
