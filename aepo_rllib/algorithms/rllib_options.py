"""RLlib's own options: those that are in use here with their ranges, and those that would change nothing here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aepo_rllib.options import FLAG, MAPPING, NOT_NEGATIVE, POSITIVE, Option, choice, count

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

IGNORED = {
    "train_batch_size": "batch_size (prompts a step) and group_size are ours",
    "_train_batch_size_per_learner": "batch_size (prompts a step) and group_size are ours",
    "minibatch_size": "updates_per_batch splits a batch into optimizer steps, rows_per_backward bounds memory",
    "shuffle_batch_per_epoch": "groups are dealt to optimizer steps as they come",
    "gamma": "a completion has one reward, and nothing is discounted",
    "num_envs_per_env_runner": "batch_size and group_size decide how many completions are sampled side by side",
    "explore": "completions are drawn from the policy at T = 1; temperature options turn the tempered stream",
    "exploration_config": "completions are drawn from the policy at T = 1",
    "clip_rewards": "rewards lie between 0 and 1",
    "observation_filter": "observations are texts",
}
"""RLlib's options that would change nothing here, and what does."""


def check_ignored(config: Any, defaults: Mapping[str, Any]) -> None:
    """Refuse RLlib's options that are ignored here.

    Raises:
        ValueError: names the option and what to use.
    """
    for name, instead in IGNORED.items():
        if (value := getattr(config, name)) != defaults[name]:
            raise ValueError(f"{name.lstrip('_')}={value!r} is not used here: {instead}")
