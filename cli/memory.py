"""Whether a run that is about to start has the memory and the disk that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aepo_rllib.cli.plan_table import show

if TYPE_CHECKING:
    from aepo_rllib.cli.settings import RunSettings
    from aepo_rllib.training.config import TextRLConfig

LARGE_BYTES = 10**9
"""Weights of a model that is worth planning for on the CPU."""


def check_memory(config: TextRLConfig, run: RunSettings) -> int:
    """Refuse a run that would not fit this machine, decide whether activations are recomputed, and count the disk.

    GPUs of a cluster that this process sees none of are unknown.

    Returns:
        Bytes of all checkpoints that are there at a time.

    Raises:
        ValueError: it does not fit; names the options that help.
    """
    from aepo_rllib.planning.fit import check_fits, longest_prompt
    from aepo_rllib.planning.hosts import disk_bytes
    from aepo_rllib.planning.machine import Machine
    from aepo_rllib.planning.settings import Settings
    from aepo_rllib.planning.shape import read_shape

    shape, machine, checkpoints = read_shape(config.model_path), Machine.here(), run.keep_checkpoints + 1
    on_gpus = bool(config.num_gpus_per_learner or config.num_gpus_per_env_runner)
    settings = Settings.of(config, checkpoints=checkpoints)
    if machine.gpus if on_gpus else shape.parameters * settings.itemsize > LARGE_BYTES:
        plan = check_fits(config, machine, prompt_tokens=longest_prompt(config), checkpoints=checkpoints)
        config.checkpoint_activations = bool(plan.settings.checkpoint_activations)
    return disk_bytes(shape, settings)


def show_memory(config: TextRLConfig, run: RunSettings) -> None:
    """Print the plan of a run on this machine to standard error.

    Raises:
        ValueError: as `check_memory`.
    """
    from aepo_rllib.planning.fit import longest_prompt, plan_of
    from aepo_rllib.planning.machine import Machine
    from aepo_rllib.planning.proposals import propose

    known = {"prompt_tokens": longest_prompt(config), "checkpoints": run.keep_checkpoints + 1}
    plan = plan_of(config, Machine.here(), **known)
    show(plan, propose(plan), config.model_path, {}, stderr=True)
    check_memory(config, run)
