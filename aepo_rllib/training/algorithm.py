"""`TextRL`: what algorithms on text share: the frame of a training step, and what their boxes are written with.

Concrete algorithms read like the paper's box because everything else is here, or with those who are asked: the samplers
(`aepo_rllib.sampling.sampler_side`) and the learners (`aepo_rllib.learning.learner_side`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from aepo_rllib import metrics
from aepo_rllib.control.targets import target_at
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.problem_order import problems_of_step
from aepo_rllib.experience.rows import RowGroups, rows_of
from aepo_rllib.learning.importance import capped_share
from aepo_rllib.learning.optimizer_step import NonFiniteError, OptimizerStep, naming_lost_learners
from aepo_rllib.learning.probe import Gap, check_first_step, choose_probe
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.rollout import Purpose, RolloutRequest
from aepo_rllib.rollout.request import BASE_ENTROPY, purpose_of
from aepo_rllib.sampling.env_sources import publish_env
from aepo_rllib.training.algorithm_of import AlgorithmOf
from aepo_rllib.training.checkpointed import SavedAlgorithm
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.weight_sync import WeightSync

logger = logging.getLogger(__name__)

BASE_ENTROPY_COMPLETIONS = 512


class TextRL(WeightSync):
    """Base of the algorithms; subclasses write `training_step`."""

    Config: ClassVar[type[TextRLConfig]]
    """The algorithm's config class, which knows it as its `Algo`."""
    STATE = ("train_steps", "base_entropy", "update_surprisal")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Config" in vars(cls):
            AlgorithmOf.link(cls.Config, cls)

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> TextRLConfig:
        """The config class's defaults."""
        return cls.Config()

    @override(Algorithm)
    def setup(self, config: TextRLConfig) -> None:
        """Build runners and learners."""
        if config.num_env_runners or config.evaluation_num_env_runners:
            publish_env(config.env)
        super().setup(config)
        self.make_sides()
        self.dial_loop = config.dial_loop()
        self.train_steps = 0
        self.base_entropy: float | None = None
        self.update_surprisal: float | None = None
        """Surprisal per token of the last batch's main rows during its update, aggregated as their loss is; None
        before the first update and where flat rows are skipped: the rest would be no mean over all rows."""
        self.updating = False
        """True from a batch's first optimizer step until its training step is counted: the weights are of no step."""
        self.on_episodes: Callable[[Purpose, Groups], None] | None = None
        """Called with every step's groups; the command line writes samples with it."""
        if config.evaluates_training_problems() and self.samplers.problem_count is not None:
            logger.warning(
                "evaluation takes the problems that env=%r is trained on; give it others by "
                "evaluation(evaluation_config={'env_config': {...}}), or set evaluation_interval=None",
                config.env,
            )

    # --- Sampling ---

    def next_problems(self) -> list[int]:
        """Problem indices (or seeds) of this training step, one per slot of the batch."""
        return self._problems(self.train_steps, self.config.batch_size)

    def share_of(self, problems: Sequence[int], stream: str) -> Sequence[int]:
        """The first of a batch's problems, as many as a stream covers."""
        return problems[: math.ceil(self.config.method().streams[stream].share * len(problems))]

    def rollout(self, stream: str, problems: Sequence[int], *, temperature: float = 1.0) -> Groups:
        """Sample a group of graded completions for every problem, for a stream of the method.

        Raises:
            Exception: see `SamplerSide.sample`.
        """
        return self._sample(purpose_of(stream, list(self.config.method().streams)), problems, temperature)

    def measure_base_entropy(self) -> float:
        """Entropy per token of the starting weights on training problems; measured once, then kept.

        Exact where the engine sees logits, else the sampled surprisal.
        """
        if self.base_entropy is None:
            problems = self._problems(0, -(-BASE_ENTROPY_COMPLETIONS // self.config.group_size))
            self.base_entropy = self._sample(BASE_ENTROPY, problems).entropy(self.config.engine_entropy())
        return self.base_entropy

    def _problems(self, step: int, count: int) -> list[int]:
        return problems_of_step(
            step, batch_size=count, problem_count=self.samplers.problem_count, seed=self.config.seed or 0
        )

    def _sample(self, purpose: Purpose, problems: Sequence[int], temperature: float = 1.0) -> Groups:
        request = RolloutRequest(
            purpose=purpose,
            seed=self.config.seed or 0,
            step=self.train_steps,
            slots=tuple(range(len(problems))),
            problems=tuple(problems),
            group_size=self.config.group_size,
            temperature=temperature,
        )
        show = self.on_episodes
        sampled = self.samplers.sample(request, show=show and (lambda groups: show(purpose, groups)))
        self.metrics.aggregate(sampled.metrics, key=ENV_RUNNER_RESULTS)
        if purpose.learned:
            self.completions_this_step += len(problems) * self.config.group_size
            for name, value in sampled.seconds.items():
                self.metrics.log_value((metrics.THROUGHPUT, name), value, reduce="sum")
        return sampled.groups

    # --- The dial ---

    def turn_dial(self, measured: float | None) -> float:
        """The dial's setting for this step.

        Args:
            measured: This batch's entropy in nats per token; None where it has none.
        """
        assert self.dial_loop is not None, "the method has no dial"
        target = target_at(self.config.target_entropy, self.train_steps, self.measure_base_entropy())
        turned = self.dial_loop.turn(measured, target)
        figures = {metrics.TARGET_ENTROPY: target, self.dial_loop.setting: turned.setting}
        self.log(metrics.CONTROL, figures | ({} if turned.entropy is None else {metrics.ENTROPY: turned.entropy}))
        return turned.setting

    # --- Learning ---

    def rows(self, groups: Mapping[str, Groups]) -> dict[str, RowGroups]:
        """Rows to learn from, by stream: completions with the advantages that the method gives them."""
        result = {}
        for place, (name, stream) in enumerate(self.config.method().streams.items()):
            if name in groups:
                advantages_PG = stream.advantage(groups[name].graded())
                figures = groups[name].figures() | groups[name].advantage_figures(advantages_PG)
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
        """Take the optimizer steps of rows that are not dealt yet.

        Args:
            streams: Rows by stream.
            coefficients: Of this step's terms by name, where they are not the method's.
            temperature: Of `Tokens.heated_logp`.

        Raises:
            RatioError: the first step's ratio is not 1.
            NonFiniteError: a gradient is NaN or infinite; names the problems.
        """
        config = self.config
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

    # --- One training step ---

    @override(Algorithm)
    def step(self) -> dict[str, Any]:
        """As RLlib's.

        Raises:
            LearnerLost: a learner process has died.
            Exception: see `rollout`, `learn` and `sync_weights`.
        """
        with naming_lost_learners(self.learner_group):
            return super().step()

    @contextmanager
    def step_frame(self) -> Iterator[None]:
        """What surrounds every training step: base entropy before the first, throughput and the step count after.

        A step that fails has not turned the dial: a checkpoint of the steps before it may follow.
        """
        self.log(metrics.CONTROL, {metrics.BASE_ENTROPY: self.measure_base_entropy()})
        self.completions_this_step, self.positives = 0, dict[str, int]()
        started, before = time.perf_counter(), self.own_state()
        try:
            yield
        except BaseException:
            self.set_own_state(before)
            raise
        rate = self.completions_this_step / (time.perf_counter() - started)
        self.log(metrics.THROUGHPUT, {metrics.COMPLETIONS_PER_SECOND: rate})
        self._watch_dial()
        self._watch_runners()
        self.train_steps += 1
        self.updating = False

    def _watch_dial(self) -> None:
        """Log how the dial stands, and say when it turns without effect."""
        if self.dial_loop is None:
            return
        tempered = [name for name, stream in self.config.method().streams.items() if stream.tempered]
        positives = sum(self.positives.get(name, 0) for name in tempered) if tempered else None
        for complaint in self.dial_loop.watch(positives):
            logger.warning("step %d: %s", self.train_steps + 1, complaint)
        monitor = self.dial_loop.monitor
        self.log(metrics.CONTROL, {metrics.HOT_SHARE: monitor.hot_share, metrics.STUCK: float(monitor.stuck)})

    def _watch_runners(self) -> None:
        """Log how many env runners sample, and say so once when their number changes."""
        health = self.samplers.health()
        self.log(metrics.THROUGHPUT, {metrics.HEALTHY_ENV_RUNNERS: health.healthy})
        if health.change:
            logger.warning("step %d: %s", self.train_steps + 1, health.change)

    @override(SavedAlgorithm)
    def own_state(self) -> dict[str, Any]:
        """With the state of the dial."""
        return {**super().own_state(), "dial": self.dial_loop and self.dial_loop.get_state()}

    @override(SavedAlgorithm)
    def set_own_state(self, state: dict[str, Any]) -> None:
        """Undo `own_state`."""
        super().set_own_state(state)
        if self.dial_loop is not None:
            self.dial_loop.set_state(state["dial"])
