"""What a search is after: a metric of a run's records, or of an evaluation after its end, as one number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aepo_rllib import metrics
from aepo_rllib.metrics_page import DOCUMENTED, OF_SOME_METHODS
from aepo_rllib.study.measures import WINDOW, relative_errors
from aepo_rllib.support.arguments import did_you_mean

PASS_AT_1 = metrics.LOGGED_PASS_AT_1
TRACKING = "tracking_error"
MODES = {"max": 1.0, "min": -1.0}
KNOWN_MODES = {PASS_AT_1: "max", TRACKING: "min", f"{metrics.MAIN}/{metrics.REWARD_MEAN}": "max"}
"""Of metrics that everybody wants one way."""
LOGGED = tuple(metric.key for metric in (*DOCUMENTED, *OF_SOME_METHODS))
TARGET = f"{metrics.CONTROL}/{metrics.TARGET_ENTROPY}"
_PASS_AT_K = re.compile(r"pass@([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class Objective:
    """A metric, and which way is better.

    Attributes:
        metric: A name of docs/metrics.md, `tracking_error`, or `pass@K`.
        mode: "max" or "min".
        window: Training steps of which the mean is taken: one batch, or one evaluation, is noisy.

    Raises:
        ValueError: an unknown metric, or one of which nobody knows which way is better.
    """

    metric: str
    mode: str
    window: int = WINDOW

    @classmethod
    def of(cls, metric: str, mode: str | None, window: int) -> Objective:
        """An objective whose mode may go without saying."""
        if metric not in (*LOGGED, TRACKING) and not _PASS_AT_K.fullmatch(metric):
            raise ValueError(
                f"unknown metric {metric!r}{did_you_mean(metric, (*LOGGED, TRACKING, 'pass@8'))}; there are those of "
                f"docs/metrics.md, {TRACKING}, and pass@K"
            )
        mode = mode or ("max" if _PASS_AT_K.fullmatch(metric) else KNOWN_MODES.get(metric))
        if mode is None:
            raise ValueError(f"metric {metric!r}: say whether more of it is better, mode max, or less, mode min")
        return cls(metric, mode, window)

    @property
    def k(self) -> int | None:
        """Of pass@k, which an evaluation after the end of a run measures; None of what its records tell."""
        match = _PASS_AT_K.fullmatch(self.metric)
        return int(match[1]) if match else None

    @property
    def evaluates(self) -> bool:
        """Whether it comes from the evaluations during a run."""
        return self.metric.startswith(f"{metrics.EVALUATION}/")

    def value(self, records: Sequence[Mapping[str, Any]]) -> float:
        """The value after a run's records so far; nan where they do not tell.

        Of a metric the mean of what is known of the last `window` steps. Of the tracking error |mean entropy - mean
        target| / mean target of these steps.
        """
        last = records[-self.window :]
        if self.metric == TRACKING:
            return _tracking_error(last)
        known = [record[self.metric] for record in last if self.metric in record]
        return float(np.mean(known)) if known else math.nan

    def rank(self, value: float) -> float:
        """Higher is better; what is not known is worst."""
        return -math.inf if math.isnan(value) else MODES[self.mode] * value


def _tracking_error(records: Sequence[Mapping[str, Any]]) -> float:
    entropy = [
        next((record[name] for name in metrics.LOGGED_ENTROPIES if name in record), math.nan) for record in records
    ]
    target = [record.get(TARGET, math.nan) for record in records]
    if not records:
        return math.nan
    return float(abs(relative_errors(np.array(entropy), np.array(target), len(records))[-1]))
