"""What is known of a search's trials, in its folder: a run folder each, and beside it a note of what it is.

    trial-001/        as `aepo train` makes it
    trial-001.json    its parameters; whose copy it is; where and how a scheduler has ended it
    trial-001.log     what `aepo train` would have shown

All that has been done is read from there, and nowhere else: so a search goes on after any kill.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aepo_rllib.cli.run_folder import METRICS
from aepo_rllib.cli.study.trial import Trial as StudyTrial
from aepo_rllib.cli.study.trial import exported_step
from aepo_rllib.models.named_folder import EMBEDDED
from aepo_rllib.support.locks import write_atomically

BASELINE = "baseline"
WAITING, BEGUN, FINISHED, STOPPED, REPLACED, FAILED = "waiting", "begun", "finished", "stopped", "replaced", "failed"
"""States of a trial: the first three are read from its folder, the next two a scheduler's; it fails in a process."""
LEFT = frozenset({WAITING, BEGUN, FAILED})
"""States of trials that have not come to an end."""
_NAME = re.compile(rf"trial-[0-9]{{3,}}|{BASELINE}")


@dataclass(frozen=True)
class Trial:
    """A trial, as its note tells.

    Attributes:
        name: Of its folder.
        parameters: Its values, by config key.
        parent: The trial whose copy it began as; None for one that began anew.
        parent_step: After how many steps.
        ended: How a scheduler has ended it, `STOPPED` or `REPLACED`; "" where none has.
        ended_step: After how many steps.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    parent_step: int = 0
    ended: str = ""
    ended_step: int = 0


class Segment(StudyTrial):
    """A trial up to a step, where its model is exported; what was exported after an earlier one is not it."""

    def is_trained(self) -> bool:
        """Whether it has come so far."""
        return exported_step(self.folder) >= self.steps

    @classmethod
    def of(cls, folder: Path, settings: Mapping[str, Any], steps: int, evaluation: Mapping[str, Any] | None) -> Segment:
        """That of a run with these settings; with an evaluation after it, where there is to be one."""
        own = {key: value for key, value in settings.items() if key != "seed"} | {"steps": steps}
        return cls("", settings.get("seed", 0), folder, own, EMBEDDED, evaluation=evaluation)


class Ledger:
    """The trials of a search.

    Args:
        root: Its folder.
        steps: Of a whole trial.
        evaluation: After it; None for none.

    Attributes:
        root: The folder, absolute.
        trials: By name, in the order of their beginning.
        failures: What has gone wrong since this process began, by trial.
        running: Trials that are in a process now, or about to be.

    Raises:
        ValueError: a note is damaged; names it.
    """

    def __init__(self, root: Path, steps: int, evaluation: Mapping[str, Any] | None = None) -> None:
        self.root, self.steps, self._evaluation = root.resolve(), steps, evaluation
        files = sorted(file for file in self.root.glob("*.json") if _NAME.fullmatch(file.stem))
        self.trials = {file.stem: read_note(file) for file in files}
        self.failures: dict[str, str] = {}
        self.running: set[str] = set()

    def folder(self, name: str) -> Path:
        """Of a trial's run."""
        return self.root / name

    def write(self, trial: Trial) -> Trial:
        """Note a trial, or what has become of it."""
        write_atomically(self.root / f"{trial.name}.json", json.dumps(asdict(trial), indent=1) + "\n")
        self.trials = {**self.trials, trial.name: trial}
        return trial

    @property
    def own(self) -> list[Trial]:
        """Trials of the space, without the baseline."""
        return [trial for name, trial in self.trials.items() if name != BASELINE]

    def next_name(self) -> str:
        """Of the next trial."""
        return trial_name(1 + len(self.own))

    def steps_done(self, name: str) -> int:
        """Training steps with metrics on disk."""
        file = self.folder(name) / METRICS
        return file.read_bytes().count(b"\n") if file.is_file() else 0

    def is_trained(self, name: str, until: int) -> bool:
        """Whether so many steps are done, and the model is exported."""
        return exported_step(self.folder(name)) >= until

    def is_finished(self, name: str) -> bool:
        """Whether nothing is left to do, evaluation included."""
        return Segment.of(self.folder(name), {}, self.steps, self._evaluation).is_finished()

    def state(self, name: str) -> str:
        """Of a trial, in a word."""
        if ended := self.trials[name].ended:
            return ended
        if self.is_finished(name):
            return FINISHED
        if name in self.failures:
            return FAILED
        return BEGUN if self.folder(name).is_dir() else WAITING

    def left(self) -> list[str]:
        """Trials that have not come to an end."""
        return [name for name in self.trials if self.state(name) in LEFT]


def trial_name(number: int) -> str:
    """From 1."""
    return f"trial-{number:03d}"


def read_note(file: Path) -> Trial:
    """The trial that a note tells of.

    Raises:
        ValueError: it is damaged.
    """
    try:
        trial = Trial(**json.loads(file.read_text(encoding="utf-8")))
        if trial.name != file.stem or not isinstance(trial.parameters, dict):
            raise ValueError("it is another trial's")
        return trial
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); search again with another --output") from error
