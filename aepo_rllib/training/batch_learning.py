"""`BatchLearning`: from what a training step has sampled to its optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from aepo_rllib import metrics
from aepo_rllib.experience.dealing import check_names
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import RowGroups, rows_of
from aepo_rllib.learning.importance import capped_share
from aepo_rllib.learning.optimizer_step import NonFiniteError, OptimizerStep
from aepo_rllib.learning.probe import Gap, check_first_step, choose_probe
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.training.weight_sync import WeightSync


class BatchLearning(WeightSync):
    """Learns from groups, or from rows.

    Attributes:
        positives: Completions of this step with an advantage above 0, by stream.
        updating: True from a batch's first optimizer step until its training step is counted: the weights are of no
            step.
        update_surprisal: Surprisal per token of the last batch's main rows during its update, aggregated as their loss
            is; None before the first update and where flat rows are skipped: the rest would be no mean over all rows.
    """

    positives: dict[str, int]
    updating: bool = False
    update_surprisal: float | None = None

    def rows(self, groups: Mapping[str, Groups]) -> dict[str, RowGroups]:
        """Rows to learn from, by stream: completions with the advantages that the method gives them."""
        result = {}
        for place, (name, stream) in enumerate(self.config.method().streams.items()):
            if name in groups:
                advantages_PG = stream.advantage(groups[name].graded())
                figures = groups[name].advantage_figures(advantages_PG)
                self.positives[name] = int(figures[metrics.POSITIVES])
                self.log(name, figures)
                result[name] = rows_of(groups[name], advantages_PG, place, tempered=stream.tempered)
        return result

    def learn(self, groups: Mapping[str, Groups], **options: Any) -> None:
        """Take this batch's optimizer steps, see `learn_rows`."""
        self.learn_rows(self.rows(groups), **options)

    def learn_rows(
        self,
        streams: Mapping[str, RowGroups],
        *,
        coefficients: Mapping[str, float] | None = None,
        temperature: float = 1.0,
    ) -> None:
        """Take the optimizer steps of rows that are not dealt yet, before `sync_weights`.

        Args:
            streams: Rows by stream.
            coefficients: Of this step's terms by name, where they are not the method's.
            temperature: Of `Tokens.heated_logp`.

        Raises:
            ValueError: a stream or a term of another name, a stream that a term reads and that is missing.
            RatioError: the first step's ratio is not 1.
            NonFiniteError: a gradient is NaN or infinite; names the problems.
        """
        config = self.config
        check_names(config.method(), streams, coefficients or {})
        self._unsent = True
        if config.sleep_while_learning:
            for side in self.sides:
                side.sleep()
        if not self.probe and config.probe_count():
            self.probe = choose_probe([row for group in streams[MAIN] for row in group], config.probe_count())
        env_steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        taken: list[OptimizerStep] = []
        with self._timed(metrics.LEARNING_SECONDS):
            scored = self.learners.scored(streams, temperature=temperature)
            dealt = self.learners.deal(scored, coefficients or {})
            for step in self._updating(self.learners.steps(dealt, env_steps=env_steps, step=self.train_steps + 1)):
                self.metrics.aggregate(step.results, key=LEARNER_RESULTS)
                if not taken:
                    self._check_first_step(step.figures)
                taken.append(step)
        if config.importance_cap is not None:
            rows = [row for groups in scored.values() for group in groups for row in group]
            self.log(metrics.UPDATE, {metrics.CAPPED_SHARE: capped_share(rows, config.importance_cap)})
        self.log(metrics.UPDATE, {metrics.TRAINED_ROWS: sum(step.rows for step in taken)})
        if not config.skip_flat_rows:
            self.update_surprisal = sum(step.figures[metrics.SURPRISAL] for step in taken) / len(taken)
            self.log(metrics.UPDATE, {metrics.SURPRISAL: self.update_surprisal})

    def _updating(self, steps: Iterator[OptimizerStep]) -> Iterator[OptimizerStep]:
        """The same steps; from the first on, until the training step is counted, the weights are of no step."""
        before, self.updating = self.updating, True
        try:
            for step in steps:
                before = True
                yield step
        except NonFiniteError:
            self.updating = before  # before the first one has succeeded, no weight has moved
            raise

    def _check_first_step(self, figures: Mapping[str, float]) -> None:
        gap = Gap(mean=figures[metrics.LOGP_GAP], largest=figures[metrics.LARGEST_LOGP_GAP])
        self.log(
            metrics.UPDATE,
            {
                metrics.FIRST_RATIO_MAX_DEVIATION: figures[metrics.RATIO_MAX_DEVIATION],
                metrics.MISMATCH_LARGEST_GAP: gap.largest,
                metrics.MISMATCH_GAP: gap.mean,
                metrics.MISMATCH_KL: figures[metrics.KL_OLD_TO_NEW],
            },
        )
        check_first_step(gap, allowed=self.config.tolerance(), step=self.train_steps + 1)
