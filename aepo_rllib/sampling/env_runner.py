"""`TextEnvRunner`: text environment + rollout engine -> graded episodes.

One completion is one environment step: the observation, after the turns of a chat that its info may name, is
everything the model sees, the action is the completion's text, and tokens with their log-probs travel as extra model
outputs of a `SingleAgentEpisode`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate, groupby
from typing import Any

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from aepo_rllib import metrics
from aepo_rllib.envs.completion import SampledText
from aepo_rllib.envs.prompts import get_template
from aepo_rllib.envs.text_env import ACTION_SPACE, OBSERVATION_SPACE
from aepo_rllib.experience.problem_order import evaluation_problem
from aepo_rllib.models.content_tokens import ContentTokens
from aepo_rllib.models.hf import load_tokenizer, stop_ids
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.rollout import Completion, FinishReason, Prompt, RolloutEngine, RolloutRequest
from aepo_rllib.rollout.engine import Sequences
from aepo_rllib.rollout.request import BASE_ENTROPY, EVALUATION, MAIN_STREAM
from aepo_rllib.sampling import vector_envs
from aepo_rllib.sampling.engine_module import EngineModule
from aepo_rllib.sampling.env_sources import find_env
from aepo_rllib.sampling.episodes import EpisodeBatch, log_episodes
from aepo_rllib.sampling.held_engine import HeldEngine
from aepo_rllib.sampling.runner_callbacks import RunnerCallbacks, tell_nobody
from aepo_rllib.sampling.vector_envs import Chat, VectorEnvs


class TextEnvRunner(EnvRunner, Checkpointable):
    """Samples groups of completions and has the environment grade them."""

    env: Any
    _envs: VectorEnvs

    @override(EnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        torch.set_num_threads(self.config.torch_threads)
        self._callbacks = RunnerCallbacks(self.config)
        self._evaluation_cursor = 0
        self._seconds = _no_seconds()
        # The local one beside others only counts.
        self.held = HeldEngine(self.config, idle=not self.worker_index and self.config.num_env_runners > 0)
        self.make_env()
        self.make_module()

    @override(EnvRunner)
    def make_env(self) -> None:
        """Build the environment anew; vector sizes are made as requests ask for them.

        Raises:
            ValueError: it is none, or not one of texts.
        """
        if self.env is not None:
            self._envs.close()
        context = EnvContext(
            self.config.text_env_kwargs(), worker_index=self.worker_index, num_workers=self.num_workers, remote=False
        )
        self._envs = VectorEnvs(find_env(self.config.env, self.config.gym_env_vectorize_mode), context)
        self.env = self._envs.of_size(1)
        self._callbacks.call(
            "on_environment_created",
            env_runner=self,
            metrics_logger=self.metrics,
            env=self.env.unwrapped,
            env_context=context,
        )

    @override(EnvRunner)
    def make_module(self) -> None:
        """Load the tokenizer; the engine comes with the first use."""
        tokenizer = load_tokenizer(self.config.model_path)
        self.encoder = PromptEncoder(tokenizer, get_template(self.config.env_config.get("template", "plain")))
        self.content = ContentTokens(tokenizer)
        self.stop_ids = stop_ids(self.config.model_path, tokenizer)

    @property
    def engine(self) -> RolloutEngine:
        """The rollout engine, awake; it is built when it is first needed."""
        return self.held.awake()

    @property
    def module(self) -> EngineModule | None:
        """The policy as an RLModule around the engine's model; None where the engine has a model of its own kind.

        It shares the engine's weights. `Algorithm.get_module` gives one of the learner's weights, for every engine.
        """
        return self.held.module()

    @property
    def weights_version(self) -> int:
        """Version of the weights that the next sample is drawn from."""
        return self.held.weights_version

    def rollout(self, *requests: RolloutRequest) -> list[SingleAgentEpisode]:
        """Sample and grade the requests' groups together: episodes request by request, slot by slot, sample by sample.

        The loop serves environments of several turns; a maths problem ends after the first.

        Raises:
            ValueError: the environment breaks its contract, see docs/environments.md.
        """
        env = self._envs.of_size(sum(len(request.slots) * request.group_size for request in requests))
        # The base entropy belongs to no training step.
        told = all(request.purpose != BASE_ENTROPY for request in requests)
        batch = EpisodeBatch(requests, env, self._callbacks.teller(self, env) if told else tell_nobody)
        while rows := batch.active():
            started = time.perf_counter()
            asked = zip(batch.chats(rows), batch.keys(rows), batch.temperatures(rows), strict=True)
            prompt_ids, completions, texts = self._complete(list(asked), batch.listener(rows))
            generated = time.perf_counter()
            content = [self.content.mask(completion.token_ids) for completion in completions]
            batch.step(rows, texts, prompt_ids, completions, content)
            self._seconds[metrics.GRADING_SECONDS] += time.perf_counter() - generated
            self._seconds[metrics.GENERATION_SECONDS] += generated - started
        if plain := batch.of(MAIN_STREAM, EVALUATION):  # the policy itself, at T = 1
            log_episodes(self.metrics, plain, in_evaluation=self.config.in_evaluation)
        if told:
            self._callbacks.call("on_sample_end", env_runner=self, metrics_logger=self.metrics, samples=batch.episodes)
        return batch.episodes

    @override(EnvRunner)
    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[SingleAgentEpisode]:
        """RLlib's own sampling call, used by `Algorithm.evaluate`: problems in order at T = 1.

        The k-th call for the same episode number uses the same uniforms, so that evaluations differ by their
        weights alone.
        """
        count = num_episodes or num_timesteps or 1
        if force_reset or not self.worker_index:
            self._evaluation_cursor = 0
        problem_count = self.problem_count()
        remote_share = (self.worker_index or 1) - 1
        first = self._evaluation_cursor
        self._evaluation_cursor += count
        slots = range(first, first + count)
        workers = max(self.num_workers, 1)
        return self.rollout(
            RolloutRequest(
                purpose=EVALUATION,
                seed=self.config.seed or 0,
                step=0,
                slots=tuple(slot * workers + remote_share for slot in slots),
                problems=tuple(evaluation_problem(slot * workers + remote_share, problem_count) for slot in slots),
                group_size=1,
            )
        )

    def problem_count(self) -> int | None:
        """Number of problems the environment lists; None where it draws them by seeds, without end."""
        return vector_envs.problem_count(self.env)

    def check_verifier(self) -> None:
        """Have the verifier judge answers of known verdict.

        Raises:
            GraderBroken: it got one wrong.
        """
        if (self_test := getattr(self.env.unwrapped, "self_test", None)) is not None:
            self_test()

    def log_probs(self, sequences: Sequences) -> list[np.ndarray]:
        """log pi of given completions, from the engine."""
        return self.engine.log_probs(sequences)

    def sleep(self) -> None:
        """Have the engine give its memory back until it is needed."""
        self.held.sleep()

    def take_seconds(self) -> dict[str, float]:
        """Seconds spent in the rollout engine and in the environment since the last call."""
        seconds, self._seconds = self._seconds, _no_seconds()
        return seconds

    @override(EnvRunner)
    def get_metrics(self) -> Any:
        """What was logged since the last call."""
        return self.metrics.reduce()

    @override(EnvRunner)
    def get_spaces(self) -> dict[str, tuple[gymnasium.Space, gymnasium.Space]]:
        """Text in, text out."""
        spaces = (OBSERVATION_SPACE, ACTION_SPACE)
        return {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces, DEFAULT_MODULE_ID: spaces}

    @override(EnvRunner)
    def assert_healthy(self) -> None:
        """Raise unless environment and tokenizer exist."""
        assert self.env is not None
        assert self.encoder is not None

    @override(Checkpointable)
    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The weights' version. Nothing else is state: every completion's randomness comes from its key."""
        return {WEIGHTS_SEQ_NO: self.weights_version}

    @override(Checkpointable)
    def set_state(self, state: dict[str, Any] | ray.ObjectRef) -> None:
        """Take over weights, given directly or as a reference."""
        if isinstance(state, ray.ObjectRef):
            state = ray.get(state)
        if COMPONENT_RL_MODULE not in state:
            return
        module_state = state[COMPONENT_RL_MODULE]
        if isinstance(module_state, ray.ObjectRef):
            module_state = ray.get(module_state)
        self.held.take_weights(module_state[DEFAULT_MODULE_ID], state.get(WEIGHTS_SEQ_NO))

    @override(Checkpointable)
    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """How to build this runner again."""
        return (), {"config": self.config}

    @override(EnvRunner)
    def stop(self) -> None:
        """Close environments and engine."""
        if self.env is not None:
            self._envs.close()
        self.held.release()

    def _complete(
        self,
        asked: Sequence[tuple[Chat, tuple[int, ...], float]],
        listener: Callable[[int, SampledText], None] | None,
    ) -> tuple[list[list[int]], list[Completion], list[SampledText]]:
        """Prompt ids, completion and text per (chat, key, temperature); neighbours of one chat and T share a prompt.

        Args:
            asked: They.
            listener: Told of a text when it has ended, by its place in `asked`.
        """
        if turns := [chat.turns for chat, *_ in asked if chat.turns]:
            self.encoder.check_turns(*turns)  # at once: one by one they take half a second each
        prompts = []
        for (chat, temperature), members in groupby(asked, key=lambda row: (row[0], row[2])):
            ids = self.encoder.encode(chat.text, chat.turns) if chat.turns else self.encoder.encode(chat.text)
            prompts.append(Prompt(ids, [key for _, key, _ in members], temperature))
        firsts = list(accumulate((len(prompt.keys) for prompt in prompts), initial=0))
        texts: dict[int, SampledText] = {}

        def ended(prompt: int, sample: int, token_ids: np.ndarray, reason: FinishReason) -> None:
            assert listener is not None
            place = firsts[prompt] + sample
            texts[place] = self._decode(token_ids, reason)
            listener(place, texts[place])

        groups = self.engine.generate(
            prompts,
            max_new_tokens=self.config.max_new_tokens,
            stop_ids=self.stop_ids,
            filters=self.config.sampling_filters(),
            **({"ended": ended} if listener is not None and self.engine.tells_ends else {}),
        )
        prompt_ids = [list(prompt.token_ids) for prompt in prompts for _ in prompt.keys]
        completions = [completion for group in groups for completion in group]
        for place, completion in enumerate(completions):
            if place not in texts:
                texts[place] = self._decode(completion.token_ids, completion.finish_reason)
        return prompt_ids, completions, [texts[place] for place in range(len(completions))]

    def _decode(self, token_ids: np.ndarray, reason: FinishReason) -> SampledText:
        text = self.encoder.decode(token_ids[:-1] if reason is FinishReason.EOS else token_ids)
        return SampledText(text, tokens=len(token_ids), truncated=reason is FinishReason.LENGTH)


def _no_seconds() -> dict[str, float]:
    return {metrics.GENERATION_SECONDS: 0.0, metrics.GRADING_SECONDS: 0.0}
