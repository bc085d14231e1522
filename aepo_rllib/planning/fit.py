"""Asked of a config: whether it fits a machine, and whether its activations have to be recomputed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aepo_rllib.envs.prompts import get_template
from aepo_rllib.envs.text_env import ENV_ID
from aepo_rllib.models.hf import load_tokenizer, local_folder
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.planning.machine import Machine, placed
from aepo_rllib.planning.plan import Plan, make_plan
from aepo_rllib.planning.proposals import propose
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import read_shape
from aepo_rllib.training.config import TextRLConfig

LONG_PROMPTS = 64
"""So many of those with most characters are tokenized to find the longest."""


def plan_of(config: TextRLConfig, machine: Machine, **known: Any) -> Plan:
    """The plan of a config, which need not be valid here.

    Args:
        config: Of the run.
        machine: What it is to run on.
        known: Fields of `Settings` that the config does not say.

    Raises:
        ModelError: the model's configuration cannot be read.
    """
    return make_plan(read_shape(config.model_path), Settings.of(config, **known), machine)


def check_fits(config: TextRLConfig, machine: Machine, **known: Any) -> Plan:
    """The plan of a config that fits; its placement on GPUs is left to `check_resources`.

    Raises:
        ValueError: it does not fit; names the options that help.
    """
    plan = plan_of(config, machine, **known)
    needed = len(placed(plan.settings))
    if 0 < machine.gpus < needed:  # on other nodes
        nodes = -(-needed // machine.gpus)
        plan = replace(plan, machine=replace(machine, gpus=machine.gpus * nodes, nodes=nodes))
    if plan.fits:
        return plan
    proposal = propose(plan)
    cure = f"set {proposal.words()}" if proposal.changes else proposal.words()
    raise ValueError(
        f"model {config.model_path!r} does not fit: {'; '.join(plan.complaints)}; {cure} (see `aepo plan`)"
    )


def resolve_checkpointing(config: TextRLConfig, device_memory: int) -> bool:
    """What `checkpoint_activations=None` comes to on GPUs with so many bytes: whether a pass needs it; not on the CPU.

    Raises:
        ModelError: the model's configuration cannot be read.
    """
    if config.checkpoint_activations is not None or not config.num_gpus_per_learner:
        return bool(config.checkpoint_activations)
    plan = plan_of(config, Machine(0, device_memory), prompt_tokens=longest_prompt(config))
    return bool(plan.settings.checkpoint_activations)


def longest_prompt(config: TextRLConfig) -> int:
    """Tokens of the longest prompt; a usual number where tokenizer or problems are not here."""
    if config.env != ENV_ID or not local_folder(config.model_path):
        return Settings.prompt_tokens
    try:
        template = get_template(config.env_config.get("template", "plain"))
        encoder = PromptEncoder(load_tokenizer(config.model_path), template)
        problems = sorted(config.load_problems(), key=lambda problem: -len(problem.text))[:LONG_PROMPTS]
        return max(len(encoder.encode(template.render(problem.text), problem.turns)) for problem in problems)
    except (ValueError, OSError, ImportError):
        return Settings.prompt_tokens
