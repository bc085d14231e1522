"""From tables to the figures of every trial and arm: how the entropy was held, what was learned, pass@k."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd

from aepo_rllib.eval.passk import pass_at_k_table, powers_of_two
from aepo_rllib.eval.reports.crossovers import Crossover
from aepo_rllib.study import measures
from aepo_rllib.study.intervals import Interval, crossing, over_seeds, over_seeds_and_problems
from aepo_rllib.study.study import BASE_ARM, Study
from aepo_rllib.study.tables import Tables
from aepo_rllib.study.views import View

MEASURES = (
    *("steps", "completions", "seconds", "base", "target", "entropy", "final", "error", "read_error", "largest"),
    *("settles", "overshoot_change", "overshoot_target", "at_low", "at_high", "reward"),
)
"""Columns of `Summary.trials`; a study's own metrics and scores come after them."""


class Summary:
    """What reports are made of.

    Args:
        study: Says which arms there are, and which is the reference.
        tables: What was measured.
        checkpoint: Whose scores are read; "" for the first that the study evaluates.
    """

    def __init__(self, study: Study, tables: Tables, checkpoint: str = "") -> None:
        self._checkpoint = checkpoint or study.checkpoints[0]
        self._every = tables
        problems = tables.problems[tables.problems.checkpoint == self._checkpoint]
        self.study, self.tables = study, replace(tables, problems=problems)
        self.window = study.window
        self._intervals: dict[str, list[Interval]] = {}

    def within(self, suites: Sequence[str]) -> Summary:
        """The same with the scores of these suites alone; of all where none is named."""
        if not suites:
            return self
        problems = self._every.problems
        chosen = replace(self._every, problems=problems[problems.suite.isin(suites)])
        return Summary(self.study, chosen, self._checkpoint)

    def seen_by(self, view: View) -> Summary:
        """The same with the scores that a view reads: of its checkpoint and its suites."""
        same = view.checkpoint in ("", self._checkpoint)
        return (self if same else Summary(self.study, self._every, view.checkpoint)).within(view.suites)

    @cached_property
    def arms(self) -> list[str]:
        """Those with a trained trial, in the study's order; the untrained model is none."""
        return [arm for arm in self.study.arms if (self.tables.steps.arm == arm).any()]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for every trained trial, indexed by arm and seed: every measure of `measures`, rewards, seconds."""
        rows = {key: self._measured(key, run) for key, run in self.tables.steps.groupby(["arm", "seed"], sort=False)}
        frame = pd.DataFrame.from_dict(rows, orient="index")
        return frame.rename_axis(["arm", "seed"])

    def _measured(self, key: tuple[str, int], run: pd.DataFrame) -> dict[str, float]:
        about = self.tables.trials.set_index(["arm", "seed"]).loc[key]
        entropy, target = run.entropy.to_numpy(), run.target.to_numpy()
        start = float(about.base_entropy)
        beyond_change, beyond_target = measures.overshoot(entropy, target, start, self.window)
        at_low, at_high = measures.duty(run.setting.to_numpy(), about.low, about.high)
        means = measures.running_means(entropy, self.window)
        measured = {
            "steps": len(run),
            "completions": int(run.completions.iloc[-1]),
            "seconds": float(run.seconds.sum()),
            "base": start,
            "target": float(target[-1]),
            "entropy": measures.later_mean(entropy),
            "final": float(means[-1]) if len(means) else math.nan,
            "error": measures.mean_error(entropy, target, self.window),
            "read_error": measures.mean_error(run.read.to_numpy(), target, self.window),
            "largest": measures.largest_error(entropy, target, self.window),
            "settles": measures.settling_step(entropy, target, self.window),
            "overshoot_change": beyond_change,
            "overshoot_target": beyond_target,
            "at_low": at_low,
            "at_high": at_high,
            "reward": measures.later_mean(run.reward.to_numpy()),
        }
        return {name: measured[name] for name in MEASURES} | {
            **{name: measures.later_mean(run[name].to_numpy()) for name in self.study.metrics or {} if name in run},
            **{name: float(about[name]) for name in self.study.scores or {} if name in about},
        }

    def values(self, arm: str, column: str) -> np.ndarray:
        """A measure of an arm's trials, seed by seed."""
        if column not in self.trials or arm not in self.arms:
            return np.empty(0)
        return self.trials.loc[arm][column].to_numpy(dtype=float)

    def minus_reference(self, arm: str, column: str) -> Interval | None:
        """A measure's difference to the reference arm, paired by seed; None for itself and where there is none."""
        reference = self.study.reference
        if reference is None or arm == reference or not {arm, reference} <= set(self.arms):
            return None
        difference = self.trials.loc[arm][column] - self.trials.loc[reference][column]
        return over_seeds(difference.dropna().to_numpy(dtype=float))

    # --- pass@k ---

    @cached_property
    def evaluated(self) -> list[str]:
        """Arms with scores, in the study's order; the untrained model first."""
        return [arm for arm in self.study.groups if (self.tables.problems.arm == arm).any()]

    @cached_property
    def ks(self) -> tuple[int, ...]:
        """Values of k that are reported."""
        if not len(self.tables.problems):
            return ()
        asked = (self.study.evaluation or {}).get("ks")
        return tuple(asked) if asked else powers_of_two(int(self.tables.problems.n.min()))

    @cached_property
    def _pass_at_k(self) -> Mapping[tuple[str, int], pd.DataFrame]:
        """By arm and seed: pass@k, a row for every suite and problem, a column for every k."""
        found = {}
        for key, rows in self.tables.problems.groupby(["arm", "seed"], sort=False):
            rows = rows.sort_values(["suite", "problem"])
            index = pd.MultiIndex.from_frame(rows[["suite", "problem"]])
            table = pass_at_k_table(rows.n.to_numpy(), rows.correct.to_numpy(), self.ks)
            found[key] = pd.DataFrame(table, index=index, columns=list(self.ks))
        return found

    def _seeds(self, arm: str) -> list[int]:
        return [seed for name, seed in self._pass_at_k if name == arm]

    def pass_at_k(self, arm: str) -> list[Interval]:
        """pass@k of an evaluated arm for every k, over seeds and problems."""
        if arm not in self._intervals:
            self._intervals[arm] = over_seeds_and_problems(self._values(arm))
        return self._intervals[arm]

    def mean_over_suites(self, arm: str) -> list[Interval]:
        """Likewise, every suite counting the same however many problems it has.

        Its problems weigh accordingly, and are drawn from all suites together.
        """
        suites = self._pass_at_k[arm, self._seeds(arm)[0]].index.get_level_values("suite")
        sizes = suites.value_counts()
        weights_P = len(suites) / (len(sizes) * sizes.loc[suites].to_numpy())
        return over_seeds_and_problems(self._values(arm) * weights_P[:, None])

    def pass_at_k_minus(self, arm: str, other: str | None) -> list[Interval] | None:
        """Its difference to another arm, paired by seed and problem; the untrained model is one for all seeds.

        None for the arm itself, and where one of both is not evaluated.
        """
        differences = self._paired(arm, other)
        return None if differences is None else over_seeds_and_problems(differences)

    def crossing(self, arm: str, other: str | None) -> Crossover | None:
        """The k from which on that difference has the other sign."""
        differences = self._paired(arm, other)
        return None if differences is None else crossing(self.ks, differences)

    def _values(self, arm: str) -> np.ndarray:
        """pass@k of every seed and problem, (S, P, K)."""
        return np.stack([self._pass_at_k[arm, seed].to_numpy() for seed in self._seeds(arm)])

    def _paired(self, arm: str, other: str | None) -> np.ndarray | None:
        if other is None or arm == other or not {arm, other} <= set(self.evaluated):
            return None
        alone = BASE_ARM in (arm, other)  # which has one seed
        pairs = [(one, two) for one in self._seeds(arm) for two in self._seeds(other) if alone or one == two]
        if not pairs:
            return None
        differences = [self._pass_at_k[arm, one] - self._pass_at_k[other, two] for one, two in pairs]
        return np.stack([difference.to_numpy() for difference in differences])


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of what is known; nan of nothing."""
    known = [float(value) for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
