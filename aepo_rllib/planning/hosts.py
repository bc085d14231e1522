"""Bytes of a node's memory and of the disk, by kind."""

from __future__ import annotations

from aepo_rllib.planning.engines import engine_bytes
from aepo_rllib.planning.learners import Bytes, learning
from aepo_rllib.planning.machine import Machine
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import ModelShape

PROCESS_BYTES = 10**9
"""Resident in every process: Python, torch, Ray, CUDA's libraries."""
STORED = 3
"""Numbers that a checkpoint holds of a trained parameter: its weight and two moments, as wide as the learner's."""


def host_bytes(shape: ModelShape, settings: Settings, machine: Machine) -> Bytes:
    """Of the node that has most, at the worst moment. Loading and saving do not meet."""
    nodes = machine.nodes
    learners = -(-settings.learners // nodes)
    runners = -(-max(settings.num_env_runners, 1) // nodes)
    engine = engine_bytes(shape, settings, machine.gpu_memory if settings.num_gpus_per_env_runner else 0)
    staged = stored_bytes(shape, settings) * learners // settings.learners
    others = learners * (settings.num_learners > 0) + runners * (settings.num_env_runners > 0)
    kinds = {
        "processes": PROCESS_BYTES * (1 + others),
        "weights on their way": shape.parameters * settings.itemsize * (others > 0),
        "loading, checkpoints": max(shape.parameters * settings.itemsize, staged),
    }
    if settings.sleep_while_learning and settings.num_gpus_per_env_runner:
        kinds["engines asleep"] = engine.weights * runners
    if not settings.num_gpus_per_env_runner:
        kinds["engines"] = sum(engine.awake.values()) * runners
    if not settings.num_gpus_per_learner:
        kinds["learners"] = sum(learning(shape, settings).values()) * learners
    return {kind: size for kind, size in kinds.items() if size}


def disk_bytes(shape: ModelShape, settings: Settings) -> int:
    """Of all checkpoints that are there at a time, one that is being written included."""
    exported = shape.parameters * settings.itemsize * settings.export_checkpoints
    return (stored_bytes(shape, settings) + exported) * settings.checkpoints


def stored_bytes(shape: ModelShape, settings: Settings) -> int:
    """Of weights and moments in one checkpoint."""
    return STORED * settings.wide * settings.trained(shape)
