"""`EpisodeBatch`: the episodes of a request while they are sampled, and what is logged of finished ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.groups import verdict_of
from aepo_rllib.rollout import Completion, FinishReason, Purpose, RolloutRequest
from aepo_rllib.sampling import vector_envs
from aepo_rllib.sampling.expecting import listener
from aepo_rllib.sampling.vector_envs import Chat

SLOT, SAMPLE, STREAM = "slot", "sample", "stream"
"""Keys of an episode's first info: which group of the batch it belongs to, its place in the group, and the stream."""
MAX_TURNS = 1000
"""An environment that has not ended an episode by then never will."""


class EpisodeBatch:
    """A group of episodes for every slot of some requests: request by request, slot by slot, sample by sample.

    Args:
        requests: What is asked for.
        env: As many environments as there will be episodes.
        tell: Called with the name of a callback of RLlib's, the episodes, and the rows it is about.

    Raises:
        ValueError: the environment breaks its contract, see docs/environments.md.
    """

    def __init__(self, requests: Sequence[RolloutRequest], env: VectorEnv, tell: Callable[..., None]) -> None:
        self._env, self._tell = env, tell
        self._rows = [
            (request, slot, sample)
            for request in requests
            for slot in request.slots
            for sample in range(request.group_size)
        ]
        self._turn = 0
        # Without spaces: they would be walked through for every item of every episode.
        self.episodes = [SingleAgentEpisode() for _ in self._rows]
        tell("on_episode_created", self.episodes, range(len(self._rows)))
        problems = [problem for request in requests for problem in request.problems for _ in range(request.group_size)]
        observations, infos = vector_envs.reset(env, problems)
        vector_envs.check_groups([(request.purpose, slot) for request, slot, _ in self._rows], observations, infos)
        for (request, slot, sample), episode, observation, info in zip(
            self._rows, self.episodes, observations, infos, strict=True
        ):
            place = {SLOT: slot, SAMPLE: sample, STREAM: request.purpose.name}
            episode.add_env_reset(observation, {**info, **place})
        self._ids = [{"problem_id": info["problem_id"]} for info in infos]
        tell("on_episode_start", self.episodes, range(len(self._rows)))

    def active(self) -> list[int]:
        """Rows whose episodes go on.

        Raises:
            ValueError: they have gone on for too long.
        """
        rows = [row for row, episode in enumerate(self.episodes) if not episode.is_done]
        if rows and self._turn == MAX_TURNS:
            raise ValueError(
                f"the environment has not ended {self._ids[rows[0]]['problem_id']} in {MAX_TURNS} turns; its step() "
                "must return terminated or truncated, or register it with max_episode_steps"
            )
        return rows

    def chats(self, rows: Sequence[int]) -> list[Chat]:
        """What the model is to be shown in these rows."""
        episodes = [self.episodes[row] for row in rows]
        return [vector_envs.chat_of(episode.get_observations(-1), episode.get_infos(-1)) for episode in episodes]

    def keys(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """The random keys of these rows' next completions."""
        return [request.key(slot, sample, self._turn) for request, slot, sample in (self._rows[row] for row in rows)]

    def temperatures(self, rows: Sequence[int]) -> list[float]:
        """What these rows are sampled at."""
        return [self._rows[row][0].temperature for row in rows]

    def listener(self, rows: Sequence[int]) -> Callable[[int, str], None] | None:
        """What is told of a completion's text as soon as it has ended, by its place in `rows`; None: nobody asks."""
        expect = listener(self._env)
        return None if expect is None else lambda place, text: expect(rows[place], text)

    def of(self, *purposes: Purpose) -> list[SingleAgentEpisode]:
        """The episodes of these purposes."""
        return [e for (request, *_), e in zip(self._rows, self.episodes, strict=True) if request.purpose in purposes]

    def step(
        self,
        rows: Sequence[int],
        texts: Sequence[str],
        prompts: Sequence[list[int]],
        completions: Sequence[Completion],
        content: Sequence[np.ndarray],
    ) -> None:
        """Hand completions to the environments of these rows.

        A completion that was cut ends its episode: the model has not said all it would have.

        Args:
            rows: Those that `active` gave.
            texts: The completions' texts.
            prompts: Token ids of what the model was shown.
            completions: What it said.
            content: Which of their tokens are content, (T,) each.
        """
        actions: list[str | None] = [None] * len(self.episodes)
        for row, text in zip(rows, texts, strict=True):
            actions[row] = text
        observations, rewards, terminated, truncated, infos = vector_envs.step(self._env, actions)
        for row, prompt_ids, completion, mask in zip(rows, prompts, completions, content, strict=True):
            cut = completion.finish_reason is FinishReason.LENGTH
            self.episodes[row].add_env_step(
                observations[row],
                actions[row],
                rewards[row],
                self._ids[row] | infos[row],
                terminated=bool(terminated[row]) and not cut,
                truncated=bool(truncated[row]) or cut,
                extra_model_outputs={**_model_outputs(prompt_ids, completion), Columns.CONTENT: mask},
            )
        self._turn += 1
        self._tell("on_episode_step", self.episodes, rows)
        ended = [row for row in rows if self.episodes[row].is_done]
        self._tell("on_episode_end", self.episodes, ended, prev_episode_chunks=[])


def log_episodes(logger: MetricsLogger, episodes: Sequence[SingleAgentEpisode], *, in_evaluation: bool) -> None:
    """RLlib's own figures, and in evaluation pass@1."""
    returns = [float(episode.get_return()) for episode in episodes]
    lengths = [len(episode) for episode in episodes]
    for values, mean, least, most in (
        (returns, EPISODE_RETURN_MEAN, EPISODE_RETURN_MIN, EPISODE_RETURN_MAX),
        (lengths, EPISODE_LEN_MEAN, EPISODE_LEN_MIN, EPISODE_LEN_MAX),
    ):
        logger.log_value(mean, float(np.mean(values)), window=1)
        logger.log_value(least, float(min(values)), reduce="min", window=1)
        logger.log_value(most, float(max(values)), reduce="max", window=1)
    logger.log_value(NUM_EPISODES, len(episodes), reduce="sum")
    logger.log_value(NUM_EPISODES_LIFETIME, len(episodes), reduce="lifetime_sum")
    logger.log_value(NUM_ENV_STEPS_SAMPLED, sum(lengths), reduce="sum")
    logger.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, sum(lengths), reduce="lifetime_sum")
    if in_evaluation:
        correct = [verdict_of(episode) is Verdict.CORRECT for episode in episodes]
        logger.log_value(metrics.PASS_AT_1, float(np.mean(correct)), window=1)
        # RLlib averages the means of env runners, whose shares may differ; these add up.
        logger.log_value(metrics.NUM_CORRECT, sum(correct), reduce="sum")
        logger.log_value(metrics.RETURN_SUM, sum(returns), reduce="sum")


def _model_outputs(prompt_ids: list[int], completion: Completion) -> dict[str, Any]:
    """A completion as extra model outputs of its environment step."""
    return {
        Columns.PROMPT_IDS: prompt_ids,
        Columns.COMPLETION_IDS: completion.token_ids,
        Columns.POLICY_LOGP: completion.policy_logp,
        Columns.BEHAVIOR_LOGP: completion.behavior_logp,
        Columns.ENTROPY: completion.entropy,
        Columns.LOGIT_VARIANCE: completion.logit_variance,
        Columns.TEMPERING_GAIN: completion.tempering_gain,
        Columns.FINISH_REASON: completion.finish_reason.value,
    }
