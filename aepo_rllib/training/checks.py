"""Checks of a `TextRLConfig` as a whole, made before Ray starts anything."""

from __future__ import annotations

import gymnasium
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from aepo_rllib.envs.env_arguments import check_env_arguments, check_verifiers
from aepo_rllib.envs.problems import ProblemError, ProblemSet, is_procedural
from aepo_rllib.envs.prompts import PromptTemplate, get_template
from aepo_rllib.envs.text_env import ENV_ID
from aepo_rllib.models.hf import check_model, load_tokenizer
from aepo_rllib.models.lora import check_lora
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.objectives.aggregation import AGGREGATIONS
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


def check_learners(config: AlgorithmConfig) -> None:
    """Refuse what learners cannot do that share their weights, or work beside env runners.

    Raises:
        ValueError: names the options.
    """
    if config.sharded and config.grad_clip and config.grad_clip_by != "global_norm":
        raise ValueError(
            f"grad_clip_by={config.grad_clip_by!r} with learner_sharding='fsdp': gradients that are spread over "
            "learners are clipped by their global norm; set grad_clip_by='global_norm', or grad_clip=None"
        )
    if config.async_steps and not config.num_env_runners and not config.in_evaluation:
        raise ValueError(
            f"async_steps={config.async_steps} with num_env_runners=0: nobody else samples while the learner works; "
            "set num_env_runners to at least 1, or async_steps=0"
        )
    if config.async_steps and config.sleep_while_learning:
        raise ValueError(
            f"async_steps={config.async_steps} with sleep_while_learning=True: engines sample while the learner works; "
            "switch one of them off"
        )


def check_objective(config: AlgorithmConfig) -> None:
    """Refuse aggregations, filters and caps that clash.

    Raises:
        ValueError: names the options.
    """
    if AGGREGATIONS[config.aggregation].micro_batched != bool(config.micro_batch_size):
        needing = ", ".join(repr(name) for name, aggregation in AGGREGATIONS.items() if aggregation.micro_batched)
        raise ValueError(
            f"aggregation={config.aggregation!r} and micro_batch_size={config.micro_batch_size!r} clash: "
            f"{needing} needs micro_batch_size of at least 1, and nothing else does"
        )
    filters = config.sampling_filters()
    if filters and not config.ignore_filters_in_ratio and not config.in_evaluation:
        raise ValueError(
            f"{filters} changes the law that completions are drawn from, but the ratio is taken against the "
            "unfiltered policy; switch the filters off, or set ignore_filters_in_ratio=True to accept it as the "
            "authors' code does"
        )


def check_model_and_length(config: AlgorithmConfig) -> None:
    """Refuse a model that cannot be loaded, framed or given adapters, or prompts and completions too long for it.

    Raises:
        ValueError: names model, option or problem.
    """
    length = check_model(config.model_path)
    if lora := config.lora():
        check_lora(config.model_path, lora)
    template = get_template(config.env_config.get("template", "plain"))
    encoder = PromptEncoder(load_tokenizer(config.model_path), template)
    limit = engine_class(config.engine).context_limit(config.engine_options)
    setting = next((key for key, value in config.engine_options.items() if value == limit), None)
    contexts = {
        f"the context of model {config.model_path!r}": length,
        f"engine_options.{setting}" if setting else f"engine {config.engine!r}": limit,
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
    if config.env != ENV_ID:
        config.curriculum()  # which refuses one
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
    config.curriculum()  # which refuses problems of one level


def _problem_sets(config: AlgorithmConfig) -> list[ProblemSet]:
    """Training problems, and those of evaluation where there is one."""
    training, source = config.load_problems(), config.text_env_kwargs()["problems"]
    if not config.evaluation_interval or config.in_evaluation:
        return [training]
    if config.validation_problems is None and not config.holds_out() and not is_procedural(source):
        raise ProblemError(
            f"evaluation_interval={config.evaluation_interval} needs validation problems, and {source!r} has none of "
            "its own; set validation_problems, a validation_share, or evaluation_interval=None"
        )
    try:
        return [training, config.load_problems(problems=config.validation_problems or source, split="validation")]
    except ProblemError as error:
        raise ProblemError(f"validation problems: {error}; or set evaluation_interval=None") from error
