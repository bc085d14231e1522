"""RLlib's own options: those that are in use here with their ranges, and those that would change nothing here."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from aepo_rllib.rllib_seam import HIDDEN_OPTIONS
from aepo_rllib.support.options import FLAG, MAPPING, NOT_NEGATIVE, POSITIVE, Option, choice, count

RLLIB = {
    "lr": Option(float, above=0, schedule=True),
    "grad_clip": Option(float, above=0, optional=True),
    "grad_clip_by": choice("global_norm", "norm", "value"),
    "num_epochs": count(optional=True),
    "seed": Option(int, least=0, most=2**32 - 1, optional=True),
    "env_config": MAPPING,
    "num_env_runners": count(0),
    "num_cpus_per_env_runner": NOT_NEGATIVE,
    "num_gpus_per_env_runner": NOT_NEGATIVE,
    "num_learners": count(0),
    "num_cpus_per_learner": Option(float, least=0, instead="auto"),
    "num_gpus_per_learner": NOT_NEGATIVE,
    "sample_timeout_s": POSITIVE,
    "delay_between_env_runner_restarts_s": NOT_NEGATIVE,
    "max_num_env_runner_restarts": count(-1),
    "env_runner_restore_timeout_s": POSITIVE,
    "env_runner_health_probe_timeout_s": POSITIVE,
    "restart_failed_env_runners": FLAG,
    "evaluation_interval": count(optional=True),
    "evaluation_duration": count(instead="auto"),
    "evaluation_duration_unit": choice("episodes", "timesteps"),
    "evaluation_num_env_runners": count(0),
    "evaluation_sample_timeout_s": POSITIVE,
    "evaluation_config": Option(dict, optional=True),
}
"""RLlib's options that are in use here; RLlib checks few of them, and fewer before a run."""

_WHOLE_EPISODES = "whole episodes are sampled, batch_size times group_size a step"
_OLD_STACK = "it belongs to RLlib's old API stack"
_NO_CONNECTORS = "texts go to the engine, and completions to the learner, without connectors"

IGNORED = {
    "train_batch_size": "batch_size (prompts a step) and group_size are ours",
    "train_batch_size_per_learner": "batch_size (prompts a step) and group_size are ours",
    "minibatch_size": "updates_per_batch splits a batch into optimizer steps, rows_per_backward bounds memory",
    "shuffle_batch_per_epoch": "groups are dealt to optimizer steps as they come",
    "gamma": "a completion has one reward, and nothing is discounted",
    "num_envs_per_env_runner": "batch_size and group_size decide how many completions are sampled side by side",
    "explore": "completions are drawn from the policy at T = 1; temperature options turn the tempered stream",
    "exploration_config": "completions are drawn from the policy at T = 1",
    "clip_rewards": "rewards are used as they are",
    "observation_filter": "observations are texts",
    "clip_actions": "actions are texts",
    "batch_mode": _WHOLE_EPISODES,
    "rollout_fragment_length": _WHOLE_EPISODES,
    "episode_lookback_horizon": _WHOLE_EPISODES,
    "episodes_to_numpy": "episodes are lists of texts and arrays",
    "compress_observations": "observations are texts",
    "sample_collector": _OLD_STACK,
    "preprocessor_pref": _OLD_STACK,
    "remote_worker_envs": _OLD_STACK,
    "remote_env_batch_wait_ms": _OLD_STACK,
    "create_env_on_local_worker": "the local env runner always has an environment",
    "create_local_env_runner": "the local env runner keeps the weights' version for the others",
    "max_requests_in_flight_per_env_runner": "a training step asks each env runner for one piece of a batch at a time",
    "merge_env_runner_states": _NO_CONNECTORS,
    "broadcast_env_runner_states": _NO_CONNECTORS,
    "use_env_runner_state_server": "weights are pushed to the env runners, and a probe tells whether they came",
    "env_to_module_connector": _NO_CONNECTORS,
    "module_to_env_connector": _NO_CONNECTORS,
    "learner_connector": _NO_CONNECTORS,
    "add_default_connectors_to_env_to_module_pipeline": _NO_CONNECTORS,
    "add_default_connectors_to_module_to_env_pipeline": _NO_CONNECTORS,
    "add_default_connectors_to_learner_pipeline": _NO_CONNECTORS,
    "enable_rl_module_and_learner": "it runs on RLlib's new API stack alone",
    "enable_env_runner_and_connector_v2": "it runs on RLlib's new API stack alone",
    "render_env": "text environments are not shown; read samples.jsonl, or set on_episode_end in callbacks()",
    "restart_failed_sub_environments": "an environment's error ends the run, and is told",
    "model": "model_path and dtype choose the language model",
    "model_config": "model_path and dtype choose the language model",
    "optimizer": "weight_decay and adam_betas are ours",
    "torch_compile_worker": "engine and engine_options say how completions are sampled",
    "num_gpus": "num_gpus_per_learner and num_gpus_per_env_runner share the GPUs out",
    "num_aggregator_actors_per_learner": "learners get their rows from the algorithm",
    "max_requests_in_flight_per_learner": "a training step waits for its learners",
    "input_": "completions are sampled, not read",
    "output": "the command line writes samples.jsonl; in Python set on_sample_end in callbacks()",
    "off_policy_estimation_methods": "evaluation samples from the policy itself",
    "offline_evaluation_interval": "evaluation samples from the policy itself",
    "num_offline_eval_runners": "evaluation samples from the policy itself",
    "metrics_num_episodes_for_smoothing": "the figures of a training step are not smoothed",
    "keep_per_episode_custom_metrics": _OLD_STACK,
}
"""RLlib's options that would change nothing here, and what does."""
SET_IN_EVALUATION = frozenset({"batch_mode", "rollout_fragment_length"})
"""Those that RLlib itself sets in the config of an evaluation."""

EVALUATION = frozenset(
    {
        "engine",
        "engine_options",
        "dtype",
        "max_new_tokens",
        "top_p",
        "top_k",
        "min_p",
        "torch_threads",
        "env",
        "env_config",
        "validation_problems",
        "gym_env_vectorize_mode",
        "seed",
        "num_cpus_per_env_runner",
        "num_gpus_per_env_runner",
        "custom_resources_per_env_runner",
        "num_env_runners",
        "sample_timeout_s",
    }
)
"""What `evaluation_config` can say otherwise than the config itself, besides callbacks."""


def check_ignored(config: Any, defaults: Mapping[str, Any]) -> None:
    """Refuse RLlib's options that are ignored here.

    Raises:
        ValueError: names the option and what to use.
    """
    for name, instead in IGNORED.items():
        if config.in_evaluation and name in SET_IN_EVALUATION:
            continue
        attribute = HIDDEN_OPTIONS.get(name, name)
        if (value := getattr(config, attribute)) != defaults[attribute]:
            raise ValueError(f"{name.strip('_')}={reprlib.repr(value)} is not used here: {instead}")
    if config.is_multi_agent:
        raise ValueError(f"policies={sorted(config.policies)} are not used here: there is one policy")


def check_evaluation_config(given: Mapping[str, Any]) -> None:
    """Refuse what an evaluation would not heed.

    Args:
        given: `evaluation_config`.

    Raises:
        ValueError: names the key and the cure.
    """
    for name, value in given.items():
        if name in IGNORED:
            cure = "set top_k=1 for the likeliest tokens" if name == "explore" else IGNORED[name]
            raise ValueError(f"evaluation_config key {name}={value!r} is not used here: {cure}")
        if name not in EVALUATION and not name.startswith("callbacks"):
            raise ValueError(
                f"evaluation_config key {name}={value!r} changes nothing in an evaluation, which samples from the "
                f"policy at T = 1; it can set {', '.join(sorted(EVALUATION))}"
            )
