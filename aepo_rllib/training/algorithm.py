"""`TextRL`: what algorithms on text share: the frame of a training step, and what their boxes are written with.

Concrete algorithms read like the paper's box because everything else is here, or with those who are asked: the samplers
(`aepo_rllib.sampling.sampler_side`) and the learners (`aepo_rllib.learning.learner_side`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.control.dials import Outcome
from aepo_rllib.control.targets import target_at
from aepo_rllib.experience.curriculum import Curriculum
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.problem_order import problems_of_step
from aepo_rllib.learning.optimizer_step import naming_lost_learners
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.rollout import Purpose, RolloutRequest
from aepo_rllib.rollout.request import BASE_ENTROPY, purpose_of
from aepo_rllib.sampling.env_sources import publish_env
from aepo_rllib.training.algorithm_of import AlgorithmOf
from aepo_rllib.training.asked import Asked
from aepo_rllib.training.batch_learning import BatchLearning
from aepo_rllib.training.checkpointed import SavedAlgorithm
from aepo_rllib.training.config import TextRLConfig

logger = logging.getLogger(__name__)

BASE_ENTROPY_COMPLETIONS, BASE_ENTROPY_BATCHES = 512, 4


class TextRL(BatchLearning):
    """Base of the algorithms; subclasses write `training_step`."""

    Config: ClassVar[type[TextRLConfig]]
    """The algorithm's config class, which knows it as its `Algo`."""
    STATE: tuple[str, ...] = ("train_steps", "base_entropy", "update_surprisal")

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
        self.gate, self.curriculum = config.gate(), config.curriculum()
        self.train_steps = 0
        self._asked: list[Asked] | None = None
        """What this training step has asked for so far; None outside of `step_frame`."""
        self._measure: Callable[[], float] | None = None
        """What measures this batch's entropy for a dial that has not waited for it."""
        self.base_entropy: float | None = None
        self.update_surprisal = None
        self.updating = False
        self.on_episodes: Callable[[Purpose, Groups], None] | None = None
        """Called with every step's groups; the command line writes samples with it."""
        if config.evaluates_training_problems() and self.samplers.problem_count is not None:
            logger.warning(
                "evaluation takes the problems that env=%r is trained on; give it others by "
                "evaluation(evaluation_config={'env_config': {...}}), or set evaluation_interval=None",
                config.env,
            )

    # --- Sampling ---

    def next_problems(self, attempt: int = 0) -> list[int]:
        """Problem indices (or seeds) of this training step, one per slot of the batch.

        Args:
            attempt: Gives others, for a box that samples until it has enough.
        """
        return self._problems(self.train_steps, self.config.batch_size, attempt, self.curriculum)

    def share_of(self, problems: Sequence[int], stream: str) -> Sequence[int]:
        """The first of a batch's problems, as many as a stream covers."""
        return problems[: math.ceil(self.config.method().streams[stream].share * len(problems))]

    def rollout(self, stream: str, problems: Sequence[int], *, temperature: float = 1.0) -> Groups:
        """Sample a group of graded completions for every problem, for a stream of the method, at once; see `ask`."""
        return self.ask(stream, problems, temperature=temperature).groups

    def ask(self, stream: str, problems: Sequence[int], *, temperature: float = 1.0) -> Asked:
        """Ask for a group of graded completions for every problem, for a stream of the method: `ask(...).groups`.

        Whoever first looks at groups has all sampled that was asked for by then, in one request to the env runners:
        one wait for the longest completion instead of several. A stream may be asked for more in one training step;
        nothing is drawn twice.

        Raises:
            RuntimeError: outside of `step_frame`.
            ValueError: an unknown stream, or another temperature than 1 of one that is not `tempered`.
        """
        if self._asked is None:
            raise RuntimeError("asked outside of step_frame(): write `with self.step_frame():` around the step")
        streams = self.config.method().streams
        purpose = purpose_of(stream, list(streams))
        if temperature != 1.0 and not streams[stream].tempered:
            raise ValueError(
                f"stream {stream!r} was asked for at T = {temperature}; declare it with Stream(tempered=True)"
            )
        first_slot = sum(len(before.request.slots) for before in self._asked if before.request.purpose == purpose)
        asked = Asked(self._request(purpose, problems, temperature, first_slot), self._sample_asked)
        self._asked.append(asked)
        return asked

    def _sample_asked(self) -> None:
        """Sample what waits, all together."""
        assert self._asked is not None
        waiting = [asked for asked in self._asked if asked.waits]
        for asked, groups in zip(waiting, self._sample(*(asked.request for asked in waiting)), strict=True):
            asked.bring(groups)
            if self.gate is not None and asked.request.purpose.name == MAIN:
                self.gate.see(groups)
        for purpose in dict.fromkeys(asked.request.purpose for asked in waiting):
            first, *others = (asked.groups for asked in self._asked if asked.request.purpose == purpose)
            self.log(purpose.name, sum(others, first).figures())

    def measure_base_entropy(self) -> float:
        """Entropy of the starting weights on training problems, as the run measures it; found once, then kept."""
        if self.base_entropy is None:
            enough = -(-BASE_ENTROPY_COMPLETIONS // self.config.group_size)
            problems = self._problems(0, min(enough, BASE_ENTROPY_BATCHES * self.config.batch_size))
            [groups] = self._sample(self._request(BASE_ENTROPY, problems))
            self.base_entropy = groups.entropy(self.config.measured_entropy())
        return self.base_entropy

    def _problems(self, step: int, count: int, attempt: int = 0, by: Curriculum | None = None) -> list[int]:
        there, seed = self.samplers.problem_count, self.config.seed or 0
        return problems_of_step(step, batch_size=count, problem_count=there, seed=seed, attempt=attempt, curriculum=by)

    def _request(
        self, purpose: Purpose, problems: Sequence[int], temperature: float = 1.0, first_slot: int = 0
    ) -> RolloutRequest:
        return RolloutRequest(
            purpose=purpose,
            seed=self.config.seed or 0,
            step=self.train_steps,
            slots=tuple(range(first_slot, first_slot + len(problems))),
            problems=tuple(problems),
            group_size=self.config.group_size,
            temperature=temperature,
        )

    def _sample(self, *requests: RolloutRequest) -> list[Groups]:
        sampled = self.samplers.sample(*requests, show=self.on_episodes)
        self.metrics.aggregate(sampled.metrics, key=ENV_RUNNER_RESULTS)
        if all(request.purpose.learned for request in requests):
            for name, value in sampled.seconds.items():
                self.metrics.log_value((metrics.THROUGHPUT, name), value, reduce="sum")
        return sampled.groups

    # --- The dial ---

    def turn_dial(self, measured: float | Callable[[], float] | None) -> float:
        """The dial's setting for this step.

        Args:
            measured: This batch's entropy in nats per token; None where it has none. Or a function that measures it:
                a dial that reads earlier batches, or turns to one setting only, answers without it, and has it called
                when the step is over.
        """
        assert self.dial_loop is not None, "the method has no dial"
        if not callable(measured):
            return self._turn_dial(measured)
        if (known := self.dial_loop.ahead(self._target_entropy())) is None:
            return self._turn_dial(measured())
        self._measure = measured
        return known

    def _target_entropy(self) -> float:
        return target_at(self.config.target_entropy, self.train_steps, self.measure_base_entropy())

    def _turn_dial(self, measured: float | None) -> float:
        """Turn the dial, and log it."""
        assert self.dial_loop is not None
        target = self._target_entropy()
        turned = self.dial_loop.turn(measured, target)
        source = self.config.measured_entropy()
        figures = {metrics.by_source(metrics.TARGET_ENTROPY, source): target, self.dial_loop.setting: turned.setting}
        if turned.entropy is not None:
            figures |= {metrics.by_source(metrics.ENTROPY, source): turned.entropy, **self.dial_loop.figures()}
        self.log(metrics.CONTROL, figures)
        return turned.setting

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
        base = metrics.by_source(metrics.BASE_ENTROPY, self.config.measured_entropy())
        self.log(metrics.CONTROL, {base: self.measure_base_entropy()})
        self._asked, self.positives, self._unsent, self._waiting = [], dict[str, int](), False, None
        self._own_weights = self._under_way is None
        started, self._before = time.perf_counter(), self.own_state()
        if self.gate is not None:
            self.gate.begin()
        try:
            yield
            if self._unsent:
                raise RuntimeError("the training step has learned, and nobody called sync_weights()")
            if self._measure is not None:
                self._turn_dial(self._measure())
            if waiting := [asked.request.purpose.name for asked in self._asked if asked.waits]:
                raise RuntimeError(f"the training step asked for {', '.join(waiting)}, and never looked at the groups")
        except BaseException:
            self.set_own_state(self._before)
            self._waiting = None  # or whoever sends weights next, to restore a checkpoint, would learn from it
            raise
        finally:
            self._measure = None
        asked, self._asked = self._asked, None
        completions = sum(each.groups.rewards_PG.numel() for each in asked)
        rate = completions / (time.perf_counter() - started)
        self.log(metrics.THROUGHPUT, {metrics.COMPLETIONS_PER_SECOND: rate})
        self._watch_dial(asked)
        self._watch_runners()
        self.train_steps += 1
        self.updating = self._under_way is not None

    def _watch_dial(self, asked: Sequence[Asked]) -> None:
        """Tell the dial what its turn came to, log how it stands, and say when it turns without effect."""
        if self.dial_loop is None:
            return
        for complaint in self.dial_loop.watch(self._outcome(asked)):
            logger.warning("step %d: %s", self.train_steps + 1, complaint)
        monitor = self.dial_loop.monitor
        self.log(metrics.CONTROL, {metrics.HOT_SHARE: monitor.hot_share, metrics.STUCK: float(monitor.stuck)})

    def _outcome(self, asked: Sequence[Asked]) -> Outcome:
        """What the step came to, for the dial."""
        tempered = [name for name, stream in self.config.method().streams.items() if stream.tempered]
        positives = sum(self.positives.get(name, 0) for name in tempered) if tempered else None
        hot = [each.groups for each in asked if each.request.purpose.name in tempered]
        main = [each.groups for each in asked if each.request.purpose.name == MAIN]
        return Outcome(
            positives,
            share=hot[0].positive_share if hot else None,
            untempered_share=main[0].positive_share if main else None,
            gain=main[0].mean(Columns.TEMPERING_GAIN) if main else None,
        )

    def _watch_runners(self) -> None:
        """Log how many env runners sample, and say so once when their number changes."""
        health = self.samplers.health()
        self.log(metrics.THROUGHPUT, {metrics.HEALTHY_ENV_RUNNERS: health.healthy})
        if health.change:
            logger.warning("step %d: %s", self.train_steps + 1, health.change)

    @override(SavedAlgorithm)
    def own_state(self) -> dict[str, Any]:
        """With the state of the dial, and the counts of solved problems."""
        turned = {"dial": self.dial_loop and self.dial_loop.get_state()}
        return {**super().own_state(), **turned, **({"solved": self.gate.get_state()} if self.gate else {})}

    @override(SavedAlgorithm)
    def set_own_state(self, state: dict[str, Any]) -> None:
        """Undo `own_state`."""
        super().set_own_state(state)
        if self.dial_loop is not None:
            self.dial_loop.set_state(state["dial"])
        if self.gate is not None:
            self.gate.set_state(state.get("solved", self.gate.get_state()))
