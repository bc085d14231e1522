"""`BatchLearning`: from what a training step has sampled to its optimizer steps."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from aepo_rllib import metrics
from aepo_rllib.experience.dealing import check_names
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import Row, RowGroups, rows_of, sequences_of
from aepo_rllib.experience.solved import SolvedGate
from aepo_rllib.learning.importance import capped_share
from aepo_rllib.learning.optimizer_step import NonFiniteError, OptimizerStep, naming_lost_learners
from aepo_rllib.learning.probe import Gap, check_first_step, choose_probe
from aepo_rllib.learning.scoring import Figures
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.training.weight_sync import WeightSync


@dataclass(frozen=True)
class Batch:
    """What one training step learns from.

    Attributes:
        step: Its number.
        streams: Rows that are not dealt yet, by stream.
        coefficients: Of this step's terms by name, where they are not the method's.
        temperature: Of `Tokens.heated_logp`.
        env_steps: Environment steps sampled so far.
        own_weights: Whether the weights that learn have sampled it, so that the first ratio is 1.
    """

    step: int
    streams: Mapping[str, RowGroups]
    coefficients: Mapping[str, float]
    temperature: float
    env_steps: int
    own_weights: bool


class Learned(NamedTuple):
    """What a batch's optimizer steps have shown; `capped` is the share of tokens at the importance cap."""

    steps: list[OptimizerStep]
    capped: float | None
    seconds: float


class BatchLearning(WeightSync):
    """Learns from groups, or from rows: at once, or beside the sampling of the next batch (`async_steps`).

    Attributes:
        positives: Completions of this step with an advantage above 0, by stream.
        gate: What weighs problems by how solved they are; None where nothing does.
        updating: True from a batch's first optimizer step until its training step is counted and it is finished: the
            weights are of no step.
        update_surprisal: Surprisal per token of the last batch's main rows during its update, aggregated as their loss
            is; None before the first update and where flat rows are skipped: the rest would be no mean over all rows.
    """

    positives: dict[str, int]
    gate: SolvedGate | None = None
    updating: bool = False
    update_surprisal: float | None = None
    _beside: ThreadPoolExecutor | None = None
    _waiting: Batch | None = None
    """What is learned from once the weights before it are sent."""
    _under_way: tuple[Batch, Future[Learned]] | None = None
    _before: dict[str, Any]
    """The state at the beginning of the step, which one that fails goes back to."""
    _own_weights = True
    """Whether this step's batch is sampled from the weights that will learn from it."""

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
            temperature: Of `Tokens.heated_logp` and `tempered_logp`.

        Raises:
            ValueError: a stream or a term of another name, a stream that a term reads and that is missing.
            RatioError: the first step's ratio is not 1.
            NonFiniteError: a gradient is NaN or infinite; names the problems.
        """
        config = self.config
        check_names(config.method(), streams, coefficients or {})
        streams = {name: self._finished(name, groups, temperature) for name, groups in streams.items()}
        self._unsent = True
        if config.sleep_while_learning:
            for side in self.sides:
                side.sleep()
        if not self.probe and config.probe_count():
            self.probe = choose_probe([row for group in streams[MAIN] for row in group], config.probe_count())
        env_steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        batch = Batch(self.train_steps + 1, streams, coefficients or {}, temperature, env_steps, self._own_weights)
        if config.async_steps:
            self.finish_learning()
            self._waiting = batch
        else:
            self._note(self._take_steps(batch))

    def _finished(self, stream: str, groups: RowGroups, temperature: float) -> RowGroups:
        """Rows weighed by how solved their problems are, at the temperature of the step."""
        if self.gate is not None:
            groups, figures = self.gate.weighed(groups)
            self.positives[stream] = sum(bool(np.any(row.advantage > 0)) for group in groups for row in group)
            self.log(stream, figures)
        if temperature == 1:
            return groups
        return [[replace(row, temperature=temperature) for row in group] for group in groups]

    def score(self, rows: Iterable[Row], reads: Collection[str] = (), **options: Any) -> list[Figures]:
        """Figures of rows under the learners' weights, see `LearnerSide.score`; an update under way is waited for."""
        self.finish_learning()
        return self.learners.score(sequences_of(rows), reads, **options)

    @override(WeightSync)
    def sync_weights(self) -> None:
        """Bring the learner's weights to the env runners; with `async_steps`, those before this batch's steps, which
        begin then.

        Raises:
            ProbeError: an engine kept old ones.
        """
        super().sync_weights()
        batch, self._waiting = self._waiting, None
        if batch is not None:
            self._beside = self._beside or ThreadPoolExecutor(1, thread_name_prefix="learning")
            self._under_way = batch, self._beside.submit(self._take_steps, batch)

    @override(WeightSync)
    def finish_learning(self) -> None:
        """Wait for the optimizer steps that are under way, and log them.

        Raises:
            Exception: see `learn_rows`; the weights are of no step from then on.
        """
        if self._under_way is None:
            return
        batch, future = self._under_way
        wait([future])  # whoever interrupts it may wait again
        self._under_way, self.updating = None, True
        with naming_lost_learners(self.learner_group):
            learned = future.result()
        self.updating = batch.step > self.train_steps  # of a training step that has failed, they are
        self._note(learned)
        if not self.updating and "update_surprisal" in self._before:
            self._before["update_surprisal"] = self.update_surprisal  # a step that fails now does not undo it

    @override(WeightSync)
    def settle_learning(self) -> None:
        """Likewise, and bring the weights to the env runners: as if nothing had been done side by side."""
        if self._under_way is not None:
            self.finish_learning()
            self.sync_weights()

    @override(Algorithm)
    def cleanup(self) -> None:
        """As RLlib's, once nobody asks the learners any more."""
        if self._beside is not None:
            self._beside.shutdown()
        super().cleanup()

    def _take_steps(self, batch: Batch) -> Learned:
        """The optimizer steps of a batch; it asks the learners alone, and logs nothing."""
        config, started, steps = self.config, time.perf_counter(), list[OptimizerStep]()
        scored = self.learners.scored(batch.streams, temperature=batch.temperature)
        dealt = self.learners.deal(scored, batch.coefficients)
        for step in self._updating(self.learners.steps(dealt, env_steps=batch.env_steps, step=batch.step)):
            if not steps and batch.own_weights:
                check_first_step(_gap(step), allowed=config.tolerance(), step=batch.step)
            steps.append(step)
        capped = None
        if config.importance_cap is not None:
            rows = [row for groups in scored.values() for group in groups for row in group]
            capped = capped_share(rows, config.importance_cap)
        return Learned(steps, capped, time.perf_counter() - started)

    def _note(self, learned: Learned) -> None:
        """Log what a batch's optimizer steps have shown."""
        steps, first = learned.steps, learned.steps[0]
        for step in steps:
            self.metrics.aggregate(step.results, key=LEARNER_RESULTS)
        figures = {
            metrics.FIRST_RATIO_MAX_DEVIATION: first.figures[metrics.RATIO_MAX_DEVIATION],
            metrics.MISMATCH_LARGEST_GAP: _gap(first).largest,
            metrics.MISMATCH_GAP: _gap(first).mean,
            metrics.MISMATCH_KL: first.figures[metrics.KL_OLD_TO_NEW],
            metrics.TRAINED_ROWS: sum(step.rows for step in steps),
        }
        if learned.capped is not None:
            figures[metrics.CAPPED_SHARE] = learned.capped
        if not self.config.skip_flat_rows:
            self.update_surprisal = sum(step.figures[metrics.SURPRISAL] for step in steps) / len(steps)
            figures[metrics.SURPRISAL] = self.update_surprisal
        self.log(metrics.UPDATE, figures)
        self.metrics.log_value((metrics.THROUGHPUT, metrics.LEARNING_SECONDS), learned.seconds, reduce="sum")

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


def _gap(step: OptimizerStep) -> Gap:
    """Between log-probs of the engines that sampled and of the learners, before this step."""
    return Gap(mean=step.figures[metrics.LOGP_GAP], largest=step.figures[metrics.LARGEST_LOGP_GAP])
