"""`TextRL`: what algorithms on text share — asking for completions, learning from them, sending weights back.

Concrete algorithms read like the paper's box because everything else is here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from aepo_rllib import metrics
from aepo_rllib.envs.grading.rewards import HIGHEST_REWARD, LOWEST_REWARD
from aepo_rllib.envs.text_env import GRADER_ERROR
from aepo_rllib.experience.dealing import Row, RowGroups, carries_gradient, deal
from aepo_rllib.experience.groups import Groups, problem_of
from aepo_rllib.experience.problem_order import problems_of_step
from aepo_rllib.learning.optimizer_step import NonFiniteError, log_probs, naming_lost_learners, take_step
from aepo_rllib.learning.probe import (
    Gap,
    Sequences,
    capped_share,
    check_first_step,
    check_probe,
    choose_probe,
    corrected,
    measure_gap,
)
from aepo_rllib.objectives.losses import reinforce
from aepo_rllib.rollout import RolloutRequest, Stream
from aepo_rllib.sampling.capacity import RunnerWatch
from aepo_rllib.sampling.collection import collect
from aepo_rllib.sampling.env_sources import publish_env
from aepo_rllib.sampling.episodes import SAMPLE, SLOT
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.policy_access import PolicyAccess

logger = logging.getLogger(__name__)

BASE_ENTROPY_COMPLETIONS = 512


class UnjudgedError(RuntimeError):
    """Too many completions came back without a verdict for their rewards to mean anything."""


class TextRL(PolicyAccess):
    """Base of the algorithms; subclasses write `training_step`."""

    STATE = ("train_steps", "base_entropy", "update_surprisal")

    @override(Algorithm)
    def setup(self, config: TextRLConfig) -> None:
        """Build runners and learners."""
        # First: RLlib restores runners while it sets up.
        self.runner_watch = RunnerWatch(config.num_env_runners, config.max_env_runner_restarts_per_hour)
        self.evaluator_watch = RunnerWatch(config.evaluation_num_env_runners, config.max_env_runner_restarts_per_hour)
        if config.num_env_runners or config.evaluation_num_env_runners:
            publish_env(config.env)
        super().setup(config)
        self.train_steps = 0
        self.base_entropy: float | None = None
        self.update_surprisal: float | None = None
        """Surprisal per token of the last batch's main rows during its update, aggregated as their loss is; None
        before the first update and where flat rows are skipped: the rest would be no mean over all rows."""
        self.probe: Sequences = []
        """What is asked of engines and learner after every weight update; chosen from the first batch."""
        self.updating = False
        """True from a batch's first optimizer step until its training step is counted: the weights are of no step."""
        self.on_episodes: Callable[[Stream, Groups], None] | None = None
        """Called with every step's groups; the command line writes samples with it."""
        if config.evaluates_training_problems() and self._problem_count is not None:
            logger.warning(
                "evaluation takes the problems that env=%r is trained on; give it others by "
                "evaluation(evaluation_config={'env_config': {...}}), or set evaluation_interval=None",
                config.env,
            )

    # --- Sampling ---

    def next_problems(self) -> list[int]:
        """Problem indices (or seeds) of this training step, one per slot of the batch."""
        return problems_of_step(
            self.train_steps,
            batch_size=self.config.batch_size,
            problem_count=self._problem_count,
            seed=self.run_seed,
        )

    def rollout(self, stream: Stream, problems: Sequence[int], *, temperature: float = 1.0) -> Groups:
        """Sample a group of graded completions for every problem.

        Raises:
            RuntimeError: some groups never came back although healthy runners were asked again.
            CapacityError: no env runner is left, or they die too often.
            GraderBroken: answers of known verdict, graded with every request, were misjudged.
            Exception: whatever else an env runner raised.
            UnjudgedError: the grader timed out or crashed on too many of them.
        """
        request = RolloutRequest(
            stream=stream,
            seed=self.run_seed,
            step=self.train_steps,
            slots=tuple(range(len(problems))),
            problems=tuple(problems),
            group_size=self.config.group_size,
            temperature=temperature,
        )
        episodes = self._collect(request)
        self.completions_this_step += len(episodes)
        groups: list[list[SingleAgentEpisode]] = [[] for _ in problems]
        for episode in sorted(episodes, key=lambda e: e.get_infos(0)[SAMPLE]):
            groups[episode.get_infos(0)[SLOT]].append(episode)
        result = Groups(groups)
        if self.on_episodes is not None:
            self.on_episodes(stream, result)
        self._check_judged(result)
        _check_rewards(result)
        return result

    def _check_judged(self, groups: Groups) -> None:
        share = 1.0 - groups.usable_PG.float().mean().item()
        if share > self.config.max_unjudged_share:
            errors = [error for episode in groups.episodes if (error := episode.get_infos(-1).get(GRADER_ERROR))]
            reason = (
                f"the reward function raised {errors[0]}"
                if errors
                else "give it more time or processes (env_config: grader_deadline_s, grader_workers), or look at the "
                "answers in samples.jsonl"
            )
            raise UnjudgedError(
                f"the grader timed out or crashed on {share:.0%} of the completions, more than "
                f"max_unjudged_share={self.config.max_unjudged_share:.0%}; {reason}"
            )

    def _collect(self, request: RolloutRequest) -> list[SingleAgentEpisode]:
        collected = collect(
            self.env_runner_group,
            request,
            timeout_s=self.config.sample_timeout_s,
            restore=lambda: self.restore_env_runners(self.env_runner_group),
            renew=self._renew,
            patience_s=self.config.env_runner_restore_timeout_s,
        )
        self.metrics.aggregate(collected.metrics, key=ENV_RUNNER_RESULTS)
        if request.stream is not Stream.BASE_ENTROPY:  # that one belongs to no training step
            for name, value in collected.seconds.items():
                self.metrics.log_value((metrics.THROUGHPUT, name), value, reduce="sum")
        return collected.episodes

    def measure_base_entropy(self) -> float:
        """Entropy per token of the starting weights on training problems; measured once, then kept.

        Exact where the engine sees logits, else the sampled surprisal.
        """
        if self.base_entropy is None:
            count = -(-BASE_ENTROPY_COMPLETIONS // self.config.group_size)
            problems = problems_of_step(0, batch_size=count, problem_count=self._problem_count, seed=self.run_seed)
            self.base_entropy = self.rollout(Stream.BASE_ENTROPY, problems).entropy(self.config.engine_entropy())
        return self.base_entropy

    # --- Learning ---

    def learn(self, streams: Sequence[RowGroups]) -> None:
        """Take this batch's optimizer steps; one row group list per loss component.

        Raises:
            RatioError: the first step's ratio is not 1.
            NonFiniteError: a gradient is NaN or infinite; names the problems.
        """
        config = self.config
        if config.sleep_while_learning:
            self._let_engines_sleep()
        if config.importance_cap is not None:
            streams = self._corrected(streams, config.importance_cap)
        if not self.probe and config.probe_count():
            self.probe = choose_probe([row for group in streams[0] for row in group], config.probe_count())
        steps = deal(
            streams,
            updates=config.updates_per_batch,
            learners=max(config.num_learners, 1),
            aggregation=config.aggregation,
            max_length=config.max_new_tokens,
            micro_batch_size=config.micro_batch_size,
            skip_flat_rows=config.skip_flat_rows,
        ) * (config.num_epochs or 1)
        surprisals = []
        with self._timed(metrics.LEARNING_SECONDS):
            for update, shares in enumerate(steps):
                figures = self._take_step(shares, first=update == 0)
                surprisals.append(figures[metrics.SURPRISAL])
        rows = sum(len(rows) for shares in steps for rows in shares)
        self.log(metrics.UPDATE, {metrics.TRAINED_ROWS: rows})
        if not config.skip_flat_rows:
            self.update_surprisal = sum(surprisals) / len(surprisals)
            self.log(metrics.UPDATE, {metrics.SURPRISAL: self.update_surprisal})

    def _corrected(self, streams: Sequence[RowGroups], cap: float) -> list[RowGroups]:
        """The same rows; those whose loss has a ratio take it against the learner, see `mismatch.corrected`."""
        components = list(self.config.loss_components().values())

        def has_ratio(row: Row) -> bool:
            return carries_gradient(row) and components[row.component].surrogate is not reinforce

        rows = [row for groups in streams for group in groups for row in group if has_ratio(row)]
        with self._timed(metrics.LEARNING_SECONDS):
            sequences = [(list(row.prompt_ids), row.completion_ids.tolist()) for row in rows]
            old_logp = log_probs(self.learner_group, sequences)
        scored = [corrected(row, logp, cap) for row, logp in zip(rows, old_logp, strict=True)]
        self.log(metrics.UPDATE, {metrics.CAPPED_SHARE: capped_share(scored, cap)})
        again = iter(scored)
        return [[[next(again) if has_ratio(row) else row for row in group] for group in groups] for groups in streams]

    def _take_step(self, shares: list[list[Row]], *, first: bool) -> dict[str, float]:
        self.updating = True
        env_steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        try:
            taken = take_step(self.learner_group, shares, env_steps=env_steps, step=self.train_steps + 1)
        except NonFiniteError:
            self.updating = not first  # before the first one has succeeded, no weight has moved
            raise
        self.metrics.aggregate(taken.results, key=LEARNER_RESULTS)
        if first:
            self._check_first_step(taken.figures)
        return taken.figures

    def _check_first_step(self, figures: dict[str, float]) -> None:
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

    # --- Weights ---

    def sync_weights(self) -> None:
        """Bring the learner's weights to the env runners.

        Raises:
            ProbeError: an engine kept old ones.
        """
        with self._timed(metrics.SYNC_SECONDS):
            if self.config.sleep_while_learning:
                self.learner_group.foreach_learner(lambda learner: learner.release_memory())
            self._send_weights(self.env_runner_group)
            if self.probe:
                self._ask_probe()

    def _let_engines_sleep(self) -> None:
        """Until they are needed: whoever sends weights or asks for samples wakes them.

        Evaluation's too, which share the device.
        """
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(
                    lambda runner: runner.sleep(), timeout_seconds=self.config.env_runner_restore_timeout_s
                )

    def _ask_probe(self) -> None:
        """Compare the engines' log-probs of the probe with the learner's."""
        probe = self.probe
        learner = log_probs(self.learner_group, probe)
        answers = self._each_sampler(
            lambda runner: (runner.worker_index, runner.log_probs(probe)),
            timeout_s=self.config.env_runner_restore_timeout_s,
        )
        gaps = {index: measure_gap(learner, engine) for index, engine in answers}
        if not gaps:  # all runners are down; those that come back are sent the weights, and the first ratio tells
            return
        largest, mean = (max(getattr(gap, name) for gap in gaps.values()) for name in ("largest", "mean"))
        self.log(metrics.UPDATE, {metrics.PROBE_LARGEST_GAP: largest, metrics.PROBE_MEAN_GAP: mean})
        check_probe(gaps, allowed=self.config.tolerance(), step=self.train_steps + 1)

    def _renew(self, runners: Sequence[int]) -> None:
        """Give runners the current weights that were restarted without anybody having noticed."""
        self.runner_watch.restarted(len(runners))
        self._send_weights(self.env_runner_group)

    @override(Algorithm)
    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """As RLlib's; a runner that came back starts with the model's first weights, and gets the current ones."""
        restored = super().restore_env_runners(env_runner_group)
        if restored:
            self._send_weights(env_runner_group)
            training = env_runner_group is self.env_runner_group
            (self.runner_watch if training else self.evaluator_watch).restarted(len(restored))
        return restored

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
        """What surrounds every training step: base entropy before the first, throughput and the step count after."""
        self.completions_this_step = 0
        self.measure_base_entropy()
        self.completions_this_step = 0
        started = time.perf_counter()
        yield
        rate = self.completions_this_step / (time.perf_counter() - started)
        self.log(metrics.THROUGHPUT, {metrics.COMPLETIONS_PER_SECOND: rate})
        self._watch_runners()
        self.train_steps += 1
        self.updating = False

    def _watch_runners(self) -> None:
        """Log how many env runners sample, and say so once when their number changes."""
        remote = self.env_runner_group.num_remote_env_runners()
        healthy = self.env_runner_group.num_healthy_remote_env_runners() if remote else 1
        self.log(metrics.THROUGHPUT, {metrics.HEALTHY_ENV_RUNNERS: healthy})
        if remote and (change := self.runner_watch.observe(healthy)):
            logger.warning("step %d: %s", self.train_steps + 1, change)

    def log(self, section: str, figures: dict[str, float]) -> None:
        """Log this step's figures of a section, unsmoothed."""
        self.metrics.log_dict(figures, key=section, window=1)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Log the seconds of a block; several blocks of one step add up."""
        started = time.perf_counter()
        yield
        self.metrics.log_value((metrics.THROUGHPUT, name), time.perf_counter() - started, reduce="sum")

    def _each_sampler(self, ask: str | Callable[[Any], Any], *, timeout_s: float | None = None) -> list[Any]:
        """Call a method or function of every env runner that samples: the remote ones, or else the local one.

        Those that are dead, or hang for longer than `timeout_s`, do not answer; the next rollout deals with them.
        """
        group = self.env_runner_group
        if group.num_remote_env_runners():
            return group.foreach_env_runner(ask, local_env_runner=False, timeout_seconds=timeout_s)
        runner = group.local_env_runner
        return [getattr(runner, ask)() if isinstance(ask, str) else ask(runner)]

    @property
    def run_seed(self) -> int:
        """Seed of problems and completions."""
        return self.config.seed or 0

    @property
    def _problem_count(self) -> int | None:
        if not hasattr(self, "_problem_count_cached"):
            self._problem_count_cached = self._each_sampler("problem_count")[0]
        return self._problem_count_cached


def _check_rewards(groups: Groups) -> None:
    """Rewards weigh log-probs, and one that is no number would turn all weights into none.

    Raises:
        ValueError: a return is not finite or out of range; names its problem.
    """
    for episode in groups.episodes:
        reward = float(episode.get_return())
        if not LOWEST_REWARD <= reward <= HIGHEST_REWARD:
            raise ValueError(
                f"the environment gave reward {reward} for problem {problem_of(episode)}; rewards must lie between "
                f"{LOWEST_REWARD:g} and {HIGHEST_REWARD:g}"
            )
