"""What a tracker is: a place where a run is shown while it goes on, beside its own folder.

A tracker of one's own is a subclass, given as `--track module:Class`, or by an entry point of the group
`aepo_rllib.trackers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is told of a run at its start.

    Attributes:
        folder: The run's.
        id: The run's own name with its folder's; one that goes on has the name it began with, a copy has another.
        config: Its resolved configuration, plain values.
    """

    folder: Path
    id: str
    config: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """The configuration in one level, as `env_config.problems`; what is set to nothing is left out."""
        return {key: value for key, value in _flat(self.config) if value is not None}


class Tracker:
    """Shows one run. What a method raises is told once, and the run goes on without the tracker.

    Args:
        run: Which.

    Raises:
        Exception: the tracker cannot be used; the run is not started.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {}
    """Packages beyond this one's own, and how each is had."""

    def __init__(self, run: RunInfo) -> None:
        self.run = run

    def log(self, step: int, time: float, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step, by `section/name` (docs/metrics.md), and the time of its end, Unix seconds."""
        raise NotImplementedError

    def show(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Take some completions, as lines of samples.jsonl; of the starting model at step 0."""

    def finish(self, *, failed: bool) -> None:
        """The run has ended, or failed: was interrupted, or ended by an error, and may go on."""


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
