"""Plots and page of a run, drawn again now and then. They are for looking at, and never end the run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from aepo_rllib.cli.plots import write_plots
from aepo_rllib.cli.run_folder import METRICS, PAGE, SAMPLES, WARNINGS, RunFolder
from aepo_rllib.cli.run_page import ShownRun, write_run_page

SHARE = 0.05
"""Of a run's time that may go into them; its end is drawn in any case."""


class Pictures:
    """What a run's folder has for the eyes.

    Args:
        folder: Of the run.
        steps: How many it is to have.
        clock: Seconds.
    """

    def __init__(self, folder: RunFolder, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._steps, self._clock = folder, steps, clock
        self._done = clock()
        self._took = 0.0

    def refresh(self, *, final: bool = False) -> Exception | None:
        """Draw them again, unless that would take too much of the run's time.

        Args:
            final: The run has ended: draw them whatever it takes.

        Returns:
            Why they could not be drawn; the older ones stand then.
        """
        began = self._clock()
        if not final and self._took > SHARE * (began - self._done):
            return None
        try:
            self._draw(ended=final)
        except Exception as error:  # they are not worth a run
            return error
        finally:
            self._done = self._clock()
            self._took = self._done - began
        return None

    def _draw(self, *, ended: bool) -> None:
        folder, config = self._folder, self._folder.config()
        records, samples, told = (folder.read(name) for name in (METRICS, SAMPLES, WARNINGS))
        title = run_title(str(folder.path), config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a font that lacks a letter of the title
            write_plots(records, folder.path, title=title)
        run = ShownRun(title, self._steps, config, records, samples, told, ended=ended)
        write_run_page(run, folder.path / PAGE)


def run_title(name: str, config: Mapping[str, Any]) -> str:
    """ "runs/quickstart: aepo on embedded, target 0.5x"."""
    target = config.get("target_entropy")
    words = f"{name}: {config.get('algo')} on {config.get('model_path')}"
    return words if target is None else f"{words}, target entropy {target}"
