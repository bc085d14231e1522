"""Checks that a layout fits the cluster it is for, made before Ray would wait for it in silence."""

from __future__ import annotations

import os
from collections.abc import Sequence

import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from aepo_rllib.rollout import engine_class


def check_resources(config: AlgorithmConfig) -> None:
    """Refuse a layout that Ray would wait for in silence.

    A cluster that is yet to be joined is checked then: RLlib validates again when it builds. It also validates a
    config of evaluation alone, whose runners have been counted with the rest. (Tune asks for a CPU more for each
    trial's own process, and says itself when a trial cannot be placed.)

    Raises:
        ValueError: names the options, what they need and what there is.
    """
    if config.in_evaluation or (not ray.is_initialized() and os.environ.get("RAY_ADDRESS")):
        return
    _check_local_evaluation(config)
    runners, evaluators, learners = config.num_env_runners, config.evaluation_num_env_runners or 0, config.num_learners
    evaluation = config.get_evaluation_config_object() if evaluators else config  # evaluation_config may say otherwise
    gpus_per_learner, cpus_per_learner = config.num_gpus_per_learner, config.num_cpus_per_learner
    if cpus_per_learner == "auto":  # as RLlib: a learner on a GPU asks for no CPU
        cpus_per_learner = int(gpus_per_learner == 0)
    cpus = runners * config.num_cpus_per_env_runner + evaluators * evaluation.num_cpus_per_env_runner
    cpus += learners * cpus_per_learner
    gpus = _gpus_for(
        [config.num_gpus_per_env_runner] * runners
        + [evaluation.num_gpus_per_env_runner] * evaluators
        + [gpus_per_learner] * learners
    )
    # Outside Tune the algorithm's own process asks Ray for nothing, and shares whatever GPU it sees.
    own = max(config.num_gpus_per_env_runner * (runners == 0), gpus_per_learner * (learners == 0))
    for resource, needed in (("CPU", cpus), ("GPU", max(gpus, own))):
        available = ray.cluster_resources().get(resource, 0) if ray.is_initialized() else _here(resource)
        if needed > available:
            raise ValueError(
                f"num_env_runners={runners}, evaluation_num_env_runners={evaluators} and num_learners={learners} need "
                f"{needed:g} {resource}s, but there are {available:g}; lower one of them"
            )


def _check_local_evaluation(config: AlgorithmConfig) -> None:
    """An engine that takes a GPU for itself cannot have a second one beside it, which evaluation would start."""
    remote = config.num_env_runners > 0 and config.num_gpus_per_env_runner > 0
    local = config.evaluation_interval and not config.evaluation_num_env_runners
    if remote and local and engine_class(config.engine).one_per_process:
        raise ValueError(
            f"evaluation_num_env_runners={config.evaluation_num_env_runners} would start a second {config.engine} on a "
            "GPU, in the algorithm's own process, at the first evaluation; set evaluation_num_env_runners=1, "
            "num_env_runners=0 or evaluation_interval=None"
        )


def _gpus_for(actors: Sequence[float]) -> float:
    """GPUs for actors that take so many each; a share of one has to fit one."""
    rooms: list[float] = []
    for share in sorted((share for share in actors if 0 < share < 1), reverse=True):
        fitting = next((place for place, room in enumerate(rooms) if room >= share - 1e-9), None)
        if fitting is None:
            rooms.append(1 - share)
        else:
            rooms[fitting] -= share
    return len(rooms) + sum(share for share in actors if share >= 1)


def _here(resource: str) -> int:
    if resource == "GPU":
        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
