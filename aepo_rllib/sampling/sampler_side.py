"""`SamplerSide`: what an algorithm asks of a group of env runners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from aepo_rllib.experience.groups import Groups
from aepo_rllib.rollout import Purpose, RolloutRequest, engine_class
from aepo_rllib.rollout.engine import Sequences
from aepo_rllib.sampling.capacity import RunnerWatch
from aepo_rllib.sampling.collection import collect
from aepo_rllib.sampling.env_runner import TextEnvRunner
from aepo_rllib.sampling.episodes import SAMPLE, SLOT, STREAM
from aepo_rllib.sampling.judged import check_judged, check_rewards

if TYPE_CHECKING:
    from aepo_rllib.training.config import TextRLConfig

Answer = TypeVar("Answer")


class Sampled(NamedTuple):
    """What came back of requests that were sampled together.

    Attributes:
        groups: For every request a group of graded completions for every slot.
        metrics: RLlib's, one for each delivery of an env runner.
        seconds: Of the whole collection, and the slowest runner's in its engine and its environment, by metric name.
    """

    groups: list[Groups]
    metrics: list[Any]
    seconds: dict[str, float]


class Health(NamedTuple):
    """How many env runners sample.

    Attributes:
        healthy: Their number; 1 where the algorithm's own process samples.
        change: What to say of it; None where it has not changed since the last look.
    """

    healthy: int
    change: str | None


class SamplerSide:
    """The env runners of training, or those of evaluation. It logs nothing: figures are returned.

    Args:
        group: The env runners, remote ones and the local one, which samples where there are no others.
        config: Of the algorithm.
        restore: Tries to bring lost runners back, with current weights.
        renew: Gives current weights to the runners of these indices.
    """

    def __init__(
        self,
        group: EnvRunnerGroup,
        config: TextRLConfig,
        *,
        restore: Callable[[], Any],
        renew: Callable[[Sequence[int]], Any],
    ) -> None:
        self.group, self.config = group, config
        self._restore, self._renew = restore, renew
        self._watch = RunnerWatch(group.num_remote_env_runners(), config.max_env_runner_restarts_per_hour)

    def sample(self, *requests: RolloutRequest, show: Callable[[Purpose, Groups], Any] | None = None) -> Sampled:
        """Sample and grade the requests' groups, all of them together.

        Args:
            requests: What to sample.
            show: Called with every request's purpose and groups before any are refused for their verdicts or rewards,
                so that these can be looked at.

        Raises:
            RuntimeError: some groups never came back although healthy runners were asked again.
            CapacityError: no env runner is left, or they die too often.
            GraderBroken: answers of known verdict, graded with every request, were misjudged.
            Exception: whatever else an env runner raised.
            UnjudgedError: the grader timed out or crashed on too many of them.
            ValueError: a reward is no number, or out of range.
        """
        episodes, figures, seconds = collect(
            self.group,
            requests,
            pieces=self._pieces,
            timeout_s=self.config.sample_timeout_s,
            restore=self._restore,
            renew=self._count_and_renew,
            patience_s=self.config.env_runner_restore_timeout_s,
        )
        sampled = [_in_order(episodes, request) for request in requests]
        for request, groups in zip(requests, sampled, strict=True):
            if show is not None:
                show(request.purpose, groups)
        for groups in sampled:
            check_judged(groups, self.config.max_unjudged_share)
            check_rewards(groups)
        return Sampled(sampled, figures, seconds)

    @property
    def problem_count(self) -> int | None:
        """Number of problems that the environment lists; None where it draws them by seeds, without end."""
        return self.group.local_env_runner.problem_count()  # all of one config, and this one cannot be lost

    def ask(self, question: Callable[[TextEnvRunner], Answer], *, timeout_s: float | None = None) -> list[Answer]:
        """Call a function of every env runner that samples: the remote ones, or else the local one.

        Those that are dead, or hang for longer than `timeout_s` (by default `env_runner_restore_timeout_s`), do not
        answer; the next request deals with them.
        """
        if not self.group.num_remote_env_runners():
            return [question(self.group.local_env_runner)]
        return self.group.foreach_env_runner(
            question, local_env_runner=False, timeout_seconds=timeout_s or self.config.env_runner_restore_timeout_s
        )

    def log_probs(self, sequences: Sequences) -> dict[int, list[np.ndarray]]:
        """log pi of given completions from every engine: an array (completion tokens,) each, by the runner's index."""
        return dict(self.ask(lambda runner: (runner.worker_index, runner.log_probs(sequences))))

    def sleep(self) -> None:
        """Have engines give their memory back until they are needed: whoever sends weights or asks wakes them."""
        self.group.foreach_env_runner(
            lambda runner: runner.sleep(), timeout_seconds=self.config.env_runner_restore_timeout_s
        )

    def restarted(self, count: int) -> None:
        """Note that so many runners have come back.

        Raises:
            CapacityError: it was too often within the last hour.
        """
        self._watch.restarted(count)

    def health(self) -> Health:
        """How many env runners sample, and what to say where that has changed since the last look."""
        if not self.group.num_remote_env_runners():
            return Health(1, None)
        healthy = self.group.num_healthy_remote_env_runners()
        return Health(healthy, self._watch.observe(healthy))

    def _pieces(self, rows: int) -> int:
        """What the engine says of so many completions."""
        config = self.config
        return engine_class(config.engine).pieces(rows, config.max_new_tokens, config.engine_options)

    def _count_and_renew(self, runners: Sequence[int]) -> None:
        """Runners that were restarted without anybody having noticed."""
        self.restarted(len(runners))
        self._renew(runners)


def _in_order(episodes: Sequence[SingleAgentEpisode], request: RolloutRequest) -> Groups:
    """A request's episodes among others by slot, then by sample."""
    groups: dict[int, list[SingleAgentEpisode]] = {slot: [] for slot in request.slots}
    for episode in sorted(episodes, key=lambda episode: episode.get_infos(0)[SAMPLE]):
        first = episode.get_infos(0)
        if first[STREAM] == request.purpose.name and first[SLOT] in groups:
            groups[first[SLOT]].append(episode)
    return Groups(list(groups.values()))
