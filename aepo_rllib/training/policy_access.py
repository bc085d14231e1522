"""`PolicyAccess`: the policy's module, weights and state, as users of RLlib read and set them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, NUM_EPISODES

from aepo_rllib import metrics
from aepo_rllib.learning.optimizer_step import naming_lost_learners
from aepo_rllib.learning.rl_module import CausalLMModule
from aepo_rllib.training.checkpointed import SavedAlgorithm


class PolicyAccess(SavedAlgorithm):
    """RLlib's methods, which expect a module in every env runner, for env runners that hold a rollout engine."""

    _module: CausalLMModule | None = None

    @override(Algorithm)
    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> CausalLMModule | None:
        """The policy as an RLModule with the learner's current weights; None for another id.

        It is built by the first call, in this process and on the CPU, and every call brings its weights up to date.
        (RLlib's own is the env runner's, which here holds a rollout engine instead.)

        Raises:
            LearnerLost: a learner process has died.
        """
        if module_id != DEFAULT_MODULE_ID:
            return None
        self.settle_learning()
        if self._module is None:
            self._module = self.config.get_rl_module_spec(spaces=self.env_runner.get_spaces()).build()
        with naming_lost_learners(self.learner_group):
            self._module.set_state(super().get_weights()[module_id])
        return self._module

    @override(Algorithm)
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As RLlib's, on env runners that have been built for it: others hold the training problems.

        Means are over all episodes; RLlib's own are over env runners, whose numbers of episodes may differ.

        Raises:
            ValueError: there are none, `evaluation_interval` being None.
        """
        if self.eval_env_runner_group is None:
            raise ValueError(
                "evaluate() needs env runners with problems of their own: set evaluation(evaluation_interval=...), to "
                "a number above your last step to evaluate by hand alone"
            )
        self.settle_learning()
        results = super().evaluate(*args, **kwargs)
        figures = results.get(ENV_RUNNER_RESULTS, {})
        if episodes := figures.get(NUM_EPISODES):
            for mean, total in ((metrics.PASS_AT_1, metrics.NUM_CORRECT), (EPISODE_RETURN_MEAN, metrics.RETURN_SUM)):
                figures[mean] = figures[total] / episodes
        return results

    @override(Algorithm)
    def get_weights(self, policies: Collection[str] | None = None) -> dict[str, Any]:
        """As RLlib's, but a copy: its own are the very memory of a learner in this process.

        Raises:
            LearnerLost: a learner process has died.
        """
        self.settle_learning()
        with naming_lost_learners(self.learner_group):
            return copy.deepcopy(super().get_weights(policies))

    @override(SavedAlgorithm)
    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Likewise, so that `set_state` goes back to it."""
        state = super().get_state(*args, **kwargs)
        if COMPONENT_LEARNER_GROUP in state:
            state[COMPONENT_LEARNER_GROUP] = copy.deepcopy(state[COMPONENT_LEARNER_GROUP])
        return state

    @override(SavedAlgorithm)
    def set_state(self, state: dict[str, Any]) -> None:
        """As RLlib's, whose learner keeps its weights where they are newer than the state's."""
        super().set_state(state)
        learner = state.get(COMPONENT_LEARNER_GROUP, {}).get(COMPONENT_LEARNER, {})
        if COMPONENT_RL_MODULE in learner:
            self.set_weights(learner[COMPONENT_RL_MODULE])

    @override(Algorithm)
    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Give other weights to learners and env runners; the optimizer's moments stay.

        Args:
            weights: {"default_policy": state}, as `get_weights` gives it.

        Raises:
            ValueError: another module id.
            LearnerLost: a learner process has died.
        """
        if set(weights) != {DEFAULT_MODULE_ID}:
            raise ValueError(f"weights of {sorted(weights)} were given; there is one module, {DEFAULT_MODULE_ID!r}")
        self.settle_learning()
        with naming_lost_learners(self.learner_group):
            self.learner_group.set_weights(dict(weights))
            self._send_weights(self.env_runner_group)

    def _send_weights(self, env_runner_group: EnvRunnerGroup) -> None:
        self.finish_learning()  # in the middle of an update they are of no step
        env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group,
            inference_only=True,
            timeout_seconds=self.config.env_runner_restore_timeout_s,
        )
