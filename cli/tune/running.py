"""A search's trials as trials of Ray Tune: its searcher hands out jobs, its scheduler ends what is not worth going on.

Tune starts the processes, as many at a time as there is room for, and starts a trial again whose process has died.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from aepo_rllib.cli.study.running import FAILURE, TRIAL
from aepo_rllib.cli.study.trials import RESTARTS, fit
from aepo_rllib.cli.tune.ledger import BASELINE, STOPPED, Ledger, read_note
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.proposals import Job, Proposals
from aepo_rllib.cli.tune.search import Search
from aepo_rllib.cli.tune.trial import STEP, UNTIL, VALUE, measured, run_job


class HandingOut(Searcher):
    """Tune's searcher: proposals, one for every trial of Tune's."""

    def __init__(self, proposals: Proposals, ledger: Ledger) -> None:
        super().__init__()
        self._proposals, self._ledger = proposals, ledger
        self._jobs: dict[str, Job] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next job; None to be asked again."""
        if (job := self._proposals.next()) is None:
            return Searcher.FINISHED if self._proposals.over else None
        self._jobs[trial_id] = job
        self._ledger.running |= {job.name}
        return {TRIAL: job.name, UNTIL: job.until}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell what a job came to."""
        job = self._jobs.pop(trial_id)
        self._ledger.running -= {job.name}
        if error:
            self._ledger.failures[job.name] = f"its process has died, {RESTARTS + 1} times"
        elif failure := (result or {}).get(FAILURE):
            self._ledger.failures[job.name] = failure
        self._proposals.ended(job)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what matters stands in the search's folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class Halving(FIFOScheduler):
    """Tune's ASHA, which notes whom it ends, and goes on with what it knew before a kill."""

    def __init__(self, search: Search, plan: Plan, ledger: Ledger) -> None:
        super().__init__()
        first = plan.looks[0]
        self._ledger, self._steps = ledger, search.steps
        self._asha = ASHAScheduler(
            time_attr=STEP,
            metric=VALUE,
            mode=plan.objective.mode,
            max_t=search.steps,
            grace_period=first,
            reduction_factor=search.reduction_factor,
        )
        for name, trial in ledger.trials.items():
            if name != BASELINE:
                done = trial.ended_step + 1 if trial.ended else ledger.steps_done(name)
                for look in (look for look in plan.looks[:-1] if look < done):  # decided: it went on, or was ended
                    self._ask(name, {STEP: look, VALUE: measured(plan, ledger.folder(name), look)})

    def _ask(self, name: str, result: Mapping[str, Any]) -> str:
        trial: Any = SimpleNamespace(trial_id=name)  # all it reads of one; Tune's own ids change with every process
        self._asha.on_trial_add(None, trial)
        return self._asha.on_trial_result(None, trial, dict(result))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on."""
        name = trial.config[TRIAL]
        if result.get(FAILURE) or STEP not in result or result[STEP] >= self._steps or name == BASELINE:
            return TrialScheduler.CONTINUE
        decision = self._ask(name, result)
        if decision == TrialScheduler.STOP:
            self._ledger.write(replace(self._ledger.trials[name], ended=STOPPED, ended_step=result[STEP]))
        return decision


def _no_scheduler(search: Search, plan: Plan, ledger: Ledger) -> FIFOScheduler:
    """Of a search whose trials end by themselves, or with their generation."""
    return FIFOScheduler()


_SCHEDULERS: dict[str, Callable[[Search, Plan, Ledger], FIFOScheduler]] = {"asha": Halving}


def run_jobs(search: Search, plan: Plan, ledger: Ledger, proposals: Proposals, jobs: int) -> None:
    """Run a search to its end; what goes wrong is kept in the ledger's `failures`.

    Args:
        search: What is searched for.
        plan: What it comes to.
        ledger: Its trials.
        proposals: What is to be done.
        jobs: How many at a time; never more than there are CPUs for.

    Raises:
        aepo_rllib.cli.errors.InputError: Ray cannot be started or joined.
    """

    def bundles(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        # Tune calls a copy of this function, and of all that it knows.
        return tune.PlacementGroupFactory(plan.bundles(read_note(plan.root / f"{config[TRIAL]}.json").parameters))

    fit(
        tune.with_resources(tune.with_parameters(run_job, plan=plan), bundles),
        ledger.root,
        jobs=jobs,
        search_alg=HandingOut(proposals, ledger),
        scheduler=_SCHEDULERS.get(search.scheduler, _no_scheduler)(search, plan, ledger),
        num_samples=-1,  # the searcher says when it is over
    )
