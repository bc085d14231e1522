"""Checks that a layout fits the cluster it is for, made before Ray would wait for it in silence."""

from __future__ import annotations

import os

import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from aepo_rllib.rollout import engine_class
from aepo_rllib.training.gpu_places import laid_out


def check_resources(config: AlgorithmConfig) -> None:
    """Refuse a layout that Ray would wait for in silence, or that would put two learners on one GPU.

    A cluster that is yet to be joined is checked then: RLlib validates again when it builds. It also validates a
    config of evaluation alone, whose runners have been counted with the rest. (Tune asks for a CPU more for each
    trial's own process, and says itself when a trial cannot be placed.)

    Raises:
        ValueError: names the options, what they need and what there is.
    """
    if config.in_evaluation:
        return
    gpus = _gpus(config)
    if not ray.is_initialized() and os.environ.get("RAY_ADDRESS"):
        return
    _check_local_evaluation(config)
    runners, evaluators, learners = config.num_env_runners, config.evaluation_num_env_runners or 0, config.num_learners
    evaluation = config.get_evaluation_config_object() if evaluators else config  # evaluation_config may say otherwise
    gpus_per_learner, cpus_per_learner = config.num_gpus_per_learner, config.num_cpus_per_learner
    if cpus_per_learner == "auto":  # as RLlib: a learner on a GPU asks for no CPU
        cpus_per_learner = int(gpus_per_learner == 0)
    cpus = runners * config.num_cpus_per_env_runner + evaluators * evaluation.num_cpus_per_env_runner
    cpus += learners * cpus_per_learner
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


def _gpus(config: AlgorithmConfig) -> int:
    """How many GPUs the actors are put on: env runners, those of evaluation, then learners, each on its own.

    Raises:
        ValueError: two learners would share one.
    """
    runners, evaluators, learners = config.num_env_runners, config.evaluation_num_env_runners or 0, config.num_learners
    evaluation = config.get_evaluation_config_object() if evaluators else config
    others = [config.num_gpus_per_env_runner] * runners + [evaluation.num_gpus_per_env_runner] * evaluators
    gpus = laid_out([*others, *[config.num_gpus_per_learner] * learners])
    if any(sum(actor >= len(others) for actor in actors) > 1 for actors in gpus):
        raise ValueError(
            f"num_gpus_per_learner={config.num_gpus_per_learner} would put several of num_learners={learners} on one "
            "GPU, which NCCL refuses; set num_gpus_per_learner=1, or, for one of each on every GPU, "
            f"num_env_runners={learners}, num_gpus_per_env_runner=0.6 and num_gpus_per_learner=0.4"
        )
    return len(gpus)


def _here(resource: str) -> int:
    if resource == "GPU":
        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
