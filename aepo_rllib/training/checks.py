"""Checks of a `TextRLConfig` as a whole, made before Ray starts anything."""

from __future__ import annotations

import os
from collections.abc import Sequence

import gymnasium
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from aepo_rllib.envs.problems import ProblemError, ProblemSet, is_procedural
from aepo_rllib.envs.prompts import PromptTemplate, get_template
from aepo_rllib.envs.text_env import ENV_ID, check_env_arguments, check_verifiers
from aepo_rllib.models.hf import check_model, load_tokenizer
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.rollout import engine_class
from aepo_rllib.sampling.env_sources import find_env


def check_batches(config: AlgorithmConfig) -> None:
    """Refuse batches that cannot be split as asked.

    Raises:
        ValueError: names the option.
    """
    if config.updates_per_batch > config.batch_size:
        raise ValueError(
            f"updates_per_batch={config.updates_per_batch} exceeds batch_size={config.batch_size}, but every "
            "optimizer step needs a whole group; raise batch_size or lower updates_per_batch"
        )
    groups = config.batch_size // config.updates_per_batch
    if config.num_learners > 1 and groups < config.num_learners:
        raise ValueError(
            f"num_learners={config.num_learners} exceeds the {groups} groups of an optimizer step (batch_size / "
            "updates_per_batch); raise batch_size or lower num_learners"
        )


def check_objective(config: AlgorithmConfig) -> None:
    """Refuse aggregations, filters and caps that clash.

    Raises:
        ValueError: names the options.
    """
    if (config.aggregation == "micro-batch-token-mean") != bool(config.micro_batch_size):
        raise ValueError(
            f"aggregation={config.aggregation!r} and micro_batch_size={config.micro_batch_size!r} clash: "
            "'micro-batch-token-mean' needs micro_batch_size of at least 1, and nothing else does"
        )
    filters = config.sampling_filters()
    if filters and not config.ignore_filters_in_ratio and not config.in_evaluation:
        raise ValueError(
            f"{filters} changes the law that completions are drawn from, but the ratio is taken against the "
            "unfiltered policy; switch the filters off, or set ignore_filters_in_ratio=True to accept it as the "
            "authors' code does"
        )


def check_model_and_length(config: AlgorithmConfig) -> None:
    """Refuse a model that cannot be loaded or framed, or prompts and completions that its context cannot hold.

    Raises:
        ValueError: names model, option or problem.
    """
    length = check_model(config.model_path)
    template = get_template(config.env_config.get("template", "plain"))
    encoder = PromptEncoder(load_tokenizer(config.model_path), template)
    contexts = {
        f"the context of model {config.model_path!r}": length,
        "engine_options.max_model_len": config.engine_options.get("max_model_len"),
    }
    known = {name: tokens for name, tokens in contexts.items() if tokens is not None}
    if not known:
        return
    name = min(known, key=lambda name: known[name])
    if config.max_new_tokens >= known[name]:
        raise ValueError(
            f"max_new_tokens={config.max_new_tokens} leaves no room for a prompt in {name}, {known[name]} tokens; "
            "lower it"
        )
    if config.env == ENV_ID:
        _check_prompts(config, encoder, template, name, known[name])


def _check_prompts(
    config: AlgorithmConfig, encoder: PromptEncoder, template: PromptTemplate, context: str, tokens: int
) -> None:
    """Tokenize the few prompts that may be too long: a token is at least a byte."""
    room = tokens - config.max_new_tokens
    problems = [problem for problem_set in _problem_sets(config) for problem in problem_set]
    encoder.check_turns(*{problem.turns for problem in problems})
    frames = {turns: len(encoder.encode("", turns)) for turns in {problem.turns for problem in problems}}
    texts = ((problem, template.render(problem.text)) for problem in problems)
    lengths = {
        problem.id: len(encoder.encode(text, problem.turns))
        for problem, text in texts
        if len(text.encode()) + frames[problem.turns] > room
    }
    long = {id_: length for id_, length in lengths.items() if length > room}
    if long:
        id_, longest = max(long.items(), key=lambda item: item[1])
        raise ValueError(
            f"{len(long)} of {len(problems)} problems leave no room for max_new_tokens={config.max_new_tokens} in "
            f"{context}, {tokens} tokens; the longest prompt has {longest} tokens ({id_}); lower max_new_tokens, or "
            "leave long problems out"
        )


def check_environment(config: AlgorithmConfig) -> None:
    """Refuse an environment that is not to be found, and options that one of the user's would not see.

    Raises:
        ValueError: names it.
    """
    if gymnasium.VectorizeMode(config.gym_env_vectorize_mode) is gymnasium.VectorizeMode.ASYNC:
        raise ValueError(
            "gym_env_vectorize_mode='async' is not used here: an env runner steps its environments one after the "
            "other; raise num_env_runners"
        )
    find_env(config.env, config.gym_env_vectorize_mode)
    if config.env != ENV_ID and config.validation_problems is not None:
        raise ValueError(
            f"validation_problems={config.validation_problems!r} does nothing with env={config.env!r}; set "
            "evaluation(evaluation_config={'env_config': {...}})"
        )


def check_problems(config: AlgorithmConfig) -> None:
    """Refuse problems that cannot be read, and an evaluation without any.

    Raises:
        ProblemError: names source, file and line.
        ValueError: an argument of the environment out of its range.
    """
    form = check_env_arguments(**config.env_config)
    for problems in _problem_sets(config):
        check_verifiers(problems, form, config.env_config.get("template", "plain"))


def _problem_sets(config: AlgorithmConfig) -> list[ProblemSet]:
    """Training problems, and those of evaluation where there is one."""
    training, source = config.load_problems(), config.text_env_kwargs()["problems"]
    if not config.evaluation_interval or config.in_evaluation:
        return [training]
    if config.validation_problems is None and not is_procedural(source):
        raise ProblemError(
            f"evaluation_interval={config.evaluation_interval} needs validation problems, and {source!r} has none of "
            "its own; set validation_problems, or evaluation_interval=None"
        )
    try:
        return [training, config.load_problems(problems=config.validation_problems or source, split="validation")]
    except ProblemError as error:
        raise ProblemError(f"validation problems: {error}; or set evaluation_interval=None") from error


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
