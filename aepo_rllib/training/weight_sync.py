"""`WeightSync`: samplers and learners of an algorithm, and the weights that go from these to those."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.annotations import override

from aepo_rllib import metrics
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.learning.probe import check_probe, measure_gap
from aepo_rllib.rollout.engine import Sequences
from aepo_rllib.sampling.sampler_side import SamplerSide
from aepo_rllib.training.policy_access import PolicyAccess


class WeightSync(PolicyAccess):
    """Sends weights, and has a probe prove that they came.

    Attributes:
        samplers: The env runners of training.
        learners: The learners.
        sides: All env runners, those of evaluation included.
        probe: What is asked of engines and learner after every weight update; chosen from the first batch.
    """

    samplers: SamplerSide
    learners: LearnerSide
    _unsent = False
    sides: tuple[SamplerSide, ...] = ()  # RLlib restores runners while it sets up

    def make_sides(self) -> None:
        """Take over the groups that RLlib has built."""
        self.samplers = self._side_of(self.env_runner_group)
        evaluation = self.eval_env_runner_group
        self.sides = (self.samplers, *([] if evaluation is None else [self._side_of(evaluation)]))
        self.learners = LearnerSide(self.learner_group, self.config)
        self.probe: Sequences = []

    def sync_weights(self) -> None:
        """Bring the learner's weights to the env runners.

        Raises:
            ProbeError: an engine kept old ones.
        """
        with self._timed(metrics.SYNC_SECONDS):
            if self.config.sleep_while_learning:
                self.learners.release_memory()
            self._send_weights(self.env_runner_group)
            self._unsent = False
            if self.probe:
                self._ask_probe()

    def _ask_probe(self) -> None:
        """Compare the engines' log-probs of the probe with the learner's."""
        learner, engines = self.learners.log_probs(self.probe), self.samplers.log_probs(self.probe)
        gaps = {index: measure_gap(learner, engine) for index, engine in engines.items()}
        if not gaps:  # all runners are down; those that come back are sent the weights, and the first ratio tells
            return
        largest, mean = (max(getattr(gap, name) for gap in gaps.values()) for name in ("largest", "mean"))
        self.log(metrics.UPDATE, {metrics.PROBE_LARGEST_GAP: largest, metrics.PROBE_MEAN_GAP: mean})
        check_probe(gaps, allowed=self.config.tolerance(), step=self.train_steps + 1)

    @override(Algorithm)
    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """As RLlib's; a runner that came back starts with the model's first weights, and gets the current ones."""
        restored = super().restore_env_runners(env_runner_group)
        if restored:
            self._send_weights(env_runner_group)
            for side in self.sides:
                if side.group is env_runner_group:
                    side.restarted(len(restored))
        return restored

    def _side_of(self, group: EnvRunnerGroup) -> SamplerSide:
        return SamplerSide(
            group,
            self.config,
            restore=lambda: self.restore_env_runners(group),
            renew=lambda runners: self._send_weights(group),
        )

    def log(self, section: str, figures: Mapping[str, float]) -> None:
        """Log this step's figures of a section, unsmoothed."""
        self.metrics.log_dict(dict(figures), key=section, window=1)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Log the seconds of a block; several blocks of one step add up."""
        started = time.perf_counter()
        yield
        self.metrics.log_value((metrics.THROUGHPUT, name), time.perf_counter() - started, reduce="sum")
