"""Trials that Optuna proposes, through Ray Tune's `OptunaSearch`."""

from __future__ import annotations

import logging
import math
from collections import deque

import numpy as np

from aepo_rllib.cli.tune.ledger import BASELINE, FINISHED, STOPPED, Ledger, Trial
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.proposals import Job, Proposals
from aepo_rllib.cli.tune.search import Search
from aepo_rllib.cli.tune.trial import VALUE, value_of


class Suggested(Proposals):
    """Trials that depend on what the earlier ones came to. Those of an earlier process are told to a new study."""

    def __init__(self, search: Search, ledger: Ledger, plan: Plan) -> None:
        super().__init__(search, ledger, plan)
        from ray.tune.search.optuna import OptunaSearch

        logging.getLogger("optuna").setLevel(logging.WARNING)  # a line for every trial
        known = ledger.own
        # Another process goes on with other random numbers than the first one began with.
        seed = int(np.random.SeedSequence([search.seed, len(known)]).generate_state(1)[0])
        space = {key: distribution.domain() for key, distribution in search.space.items()}
        self._optuna = OptunaSearch(space, metric=VALUE, mode=plan.objective.mode, seed=seed)
        self._suggested: set[str] = set()
        for trial in known:
            if ledger.state(trial.name) in (FINISHED, STOPPED):
                self._tell(trial)
        self._begun = deque(name for name in ledger.left() if name != BASELINE)

    @property
    def over(self) -> bool:
        """As the base's."""
        return not self._waiting and not self._begun and len(self._ledger.own) >= self._search.samples

    def _propose(self) -> Job | None:
        if self._begun:
            return Job(self._begun.popleft(), self._search.steps)
        if len(self._ledger.own) >= self._search.samples:
            return None
        name = self._ledger.next_name()
        parameters = self._optuna.suggest(name)
        self._suggested.add(name)
        self._ledger.write(Trial(name, {key: parameters[key] for key in self._search.space}))
        return Job(name, self._search.steps)

    def ended(self, job: Job) -> None:
        """As the base's."""
        if job.name != BASELINE:
            self._tell(self._ledger.trials[job.name])

    def _tell(self, trial: Trial) -> None:
        failed = trial.name in self._ledger.failures
        value = math.nan if failed else value_of(self._plan, self._ledger, trial.name)
        if trial.name in self._suggested:
            self._optuna.on_trial_complete(trial.name, {VALUE: value}, error=math.isnan(value))
        elif not math.isnan(value):
            self._optuna.add_evaluated_point(dict(trial.parameters), value)
