"""Population based training: from time to time the worst trials go on as copies of the best, with other values.

A generation ends when all of its trials have come as far. Then the worst `quantile_fraction` end, and as many trials
begin as copies of trials out of the best: their runs up to there, with every value drawn anew or near the old one. What
a generation comes to depends on the trials' records and the search's seed alone, so it is the same after any kill.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aepo_rllib.cli.resuming import fingerprints
from aepo_rllib.cli.run_folder import CHECKPOINTS, METRICS, SAMPLES, RunFolder, step_name
from aepo_rllib.cli.settings import build, resolved
from aepo_rllib.cli.tune.ledger import REPLACED, Ledger, Trial, trial_name
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.proposals import Job, Proposals, proposed
from aepo_rllib.cli.tune.search import Search
from aepo_rllib.cli.tune.trial import measured
from aepo_rllib.support.locks import write_atomically
from aepo_rllib.support.sealed_folder import appearing_folder

FILE = "population.json"
"""Names of every generation's trials, in the search's folder."""
FACTORS = (0.8, 1.2)
"""By which a copy's values differ, as in `ray.tune`."""


class Population(Proposals):
    """Trials in generations."""

    def __init__(self, search: Search, ledger: Ledger, plan: Plan) -> None:
        super().__init__(search, ledger, plan)
        self._file = ledger.root / FILE
        self._generations: list[list[str]] = _read(self._file) if self._file.is_file() else []
        self._members = deque[str]()
        if not self._generations:
            first = [
                Trial(trial_name(number), parameters) for number, parameters in enumerate(proposed(search), start=1)
            ]
            self._begin(first, [trial.name for trial in first])
        else:
            self._hand_out()

    @property
    def _until(self) -> int:
        return self._plan.looks[len(self._generations) - 1]

    @property
    def over(self) -> bool:
        """As the base's."""
        return not self._waiting and not self._members and (self._until == self._search.steps or not self._good())

    def _propose(self) -> Job | None:
        return Job(self._members.popleft(), self._until) if self._members else None

    def ended(self, job: Job) -> None:
        """As the base's."""
        members, failures = self._generations[-1], self._ledger.failures
        if job.name not in members or self._until == self._search.steps:
            return
        if all(name in failures or self._ledger.is_trained(name, self._until) for name in members) and self._good():
            self._next_generation()

    def _good(self) -> list[str]:
        """Members that have not failed."""
        return [name for name in self._generations[-1] if name not in self._ledger.failures]

    def _next_generation(self) -> None:
        step, members = self._until, self._generations[-1]
        ranks = {
            name: self._plan.objective.rank(measured(self._plan, self._ledger.folder(name), step))
            if self._ledger.is_trained(name, step)
            else -math.inf
            for name in members
        }
        worst, best = quantiles(ranks, self._search.quantile_fraction)
        worst += [name for name in members if name not in self._good() and name not in worst]
        rng = np.random.default_rng([self._search.seed, step, len(self._generations)])
        count = len({name for names in self._generations for name in names})
        copies = {}
        for number, name in enumerate(sorted(worst), start=count + 1):
            parent = best[int(rng.integers(len(best)))]
            parameters = explored(self._search, self._ledger.trials[parent].parameters, rng)
            copies[name] = Trial(trial_name(number), parameters, parent, step)
        self._begin(list(copies.values()), [copies[name].name if name in copies else name for name in members])

    def _begin(self, new: Sequence[Trial], members: Sequence[str]) -> None:
        """Note a generation: first its trials, so that none is named that is not there."""
        for trial in new:
            self._ledger.write(trial)
        self._generations.append(list(members))
        write_atomically(self._file, json.dumps(self._generations) + "\n")
        self._hand_out()

    def _hand_out(self) -> None:
        """Make what a generation needs, and queue those of its trials that have not come to its end.

        All copies are made before any trial goes on, and with that loses the checkpoint that is copied.
        """
        *earlier, members = self._generations
        for name in {name for names in earlier for name in names} - {*members}:
            trial = self._ledger.trials[name]
            if not trial.ended:
                step = self._ledger.steps_done(name)
                self._ledger.write(replace(trial, ended=REPLACED, ended_step=step))
        for name in members:
            trial = self._ledger.trials[name]
            if trial.parent is not None and not self._ledger.folder(name).exists():
                copy_run(self._ledger, self._plan, trial)
        last = self._until == self._search.steps
        self._members = deque(
            name
            for name in members
            if not (self._ledger.is_finished(name) if last else self._ledger.is_trained(name, self._until))
        )
        if not self._members and not last:  # all had ended, and nobody had seen it
            self._next_generation()


def quantiles(ranks: Mapping[str, float], fraction: float) -> tuple[list[str], list[str]]:
    """The worst and the best of a population, as many of each, and never more than half; none of one alone."""
    order = sorted(ranks, key=lambda name: (ranks[name], name))
    count = min(math.ceil(len(order) * fraction), len(order) // 2)
    return order[:count], order[len(order) - count :]


def explored(search: Search, parameters: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Values for a copy: each drawn anew, or near its parent's and within its range."""
    return {
        key: distribution.draw(rng)
        if rng.random() < search.resample_probability
        else distribution.perturbed(parameters[key], FACTORS, rng)
        for key, distribution in search.space.items()
    }


def copy_run(ledger: Ledger, plan: Plan, trial: Trial) -> None:
    """Make a run out of another one's first steps, which goes on with other values.

    Raises:
        ValueError: its parameters do not fit, or the parent has no checkpoint of that step.
    """
    assert trial.parent is not None
    parent = RunFolder(ledger.folder(trial.parent))
    checkpoint = Path(CHECKPOINTS, step_name(trial.parent_step))
    if not (parent.path / checkpoint).is_dir():
        raise ValueError(f"{parent.path / checkpoint} is gone, of which {trial.name} is to be a copy; search again")
    settings, config = build(plan.values(trial.parameters) | {"steps": trial.parent_step})
    with appearing_folder(ledger.folder(trial.name), manifest=False) as folder:
        for name in (METRICS, SAMPLES):
            if (parent.path / name).is_file():
                shutil.copyfile(parent.path / name, folder / name)
                RunFolder(folder).cut(name, trial.parent_step)
        shutil.copytree(parent.path / checkpoint, folder / checkpoint, copy_function=_linked)
        # Checkpoints tell of which run they are.
        RunFolder(folder).write_config(resolved(settings, config) | fingerprints(config), parent.config_and_id()[1])


def _linked(source: str, target: str) -> None:
    """A second name for a file, which nobody changes once it is written; or a copy, where there are no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _read(file: Path) -> list[list[str]]:
    try:
        generations = json.loads(file.read_text(encoding="utf-8"))
        if not generations or not all(isinstance(name, str) for names in generations for name in names):
            raise ValueError("no names of trials")
        return [list(names) for names in generations]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); search again with another --output") from error
