"""`Plan`: a run put on a machine, what GPUs, host and disk hold at the worst moment, and whether it fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from aepo_rllib.planning.engines import SHARE, EngineBytes, engine_bytes
from aepo_rllib.planning.hosts import disk_bytes, host_bytes
from aepo_rllib.planning.learners import Bytes, learning, resting, states
from aepo_rllib.planning.machine import ENGINE, LEARNER, Actor, Machine, placed
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import ModelShape

RESERVE_BYTES = 2 * 10**9
"""Of a process on a GPU, beside its tensors: CUDA's context, NCCL's buffers, what the allocator cannot use."""


class Gpu(NamedTuple):
    """A GPU.

    Attributes:
        actors: Who is on it.
        learning, sampling: Bytes by kind while learners learn, and while engines sample.
    """

    actors: tuple[Actor, ...]
    learning: Bytes
    sampling: Bytes

    @property
    def peak(self) -> int:
        """Bytes at the worst moment."""
        return max(sum(self.learning.values()), sum(self.sampling.values()))


@dataclass(frozen=True)
class Plan:
    """A run on a machine.

    Attributes:
        shape, given, machine: What is planned.
        settings: The given ones; whether activations are recomputed is decided.
    """

    shape: ModelShape
    given: Settings
    settings: Settings
    machine: Machine

    @cached_property
    def engine(self) -> EngineBytes:
        """One of the engines."""
        on_gpu = bool(self.settings.num_gpus_per_env_runner)
        return engine_bytes(self.shape, self.settings, self.machine.gpu_memory if on_gpu else 0)

    @cached_property
    def learner(self) -> Bytes:
        """One of the learners, at the worst moment of a step."""
        return learning(self.shape, self.settings)

    @cached_property
    def gpus(self) -> list[Gpu]:
        """All that are in use."""
        return [self._gpu(actors) for actors in placed(self.settings)]

    @cached_property
    def host(self) -> Bytes:
        """Of the node that has most."""
        return host_bytes(self.shape, self.settings, self.machine)

    @cached_property
    def disk(self) -> int:
        """Bytes of all checkpoints."""
        return disk_bytes(self.shape, self.settings)

    @property
    def fits(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.complaints

    @property
    def peak(self) -> int:
        """Bytes of the fullest GPU."""
        return max((gpu.peak for gpu in self.gpus), default=0)

    @property
    def excess(self) -> int:
        """Bytes that the fullest GPU lacks; negative where some are free."""
        return self.peak - self.machine.gpu_memory if self.gpus else 0

    @cached_property
    def complaints(self) -> list[str]:
        """What does not fit, a line each."""
        found = []
        if len(self.gpus) > self.machine.gpus:
            found.append(f"it needs {len(self.gpus)} GPUs, and there are {self.machine.gpus}")
        if any(sum(actor.kind == LEARNER for actor in gpu.actors) > 1 for gpu in self.gpus):
            found.append(
                "several learners would share a GPU, which NCCL refuses; give env runners more than half of one each, "
                "num_gpus_per_env_runner=0.6 and num_gpus_per_learner=0.4"
            )
        if self.engine.complaint:
            found.append(self.engine.complaint)
        if self.excess > 0:
            found.append(f"a GPU would hold {gigabytes(self.peak)} of {gigabytes(self.machine.gpu_memory)} GB")
        host, there = sum(self.host.values()), self.machine.host_memory
        if there is not None and host > there:
            found.append(f"a node's memory would hold {gigabytes(host)} of {gigabytes(there)} GB")
        return found

    def changed(self, **changes: Any) -> Plan:
        """The same with other settings."""
        return make_plan(self.shape, replace(self.given, **changes), self.machine)

    def _gpu(self, actors: Sequence[Actor]) -> Gpu:
        """Who sleeps gives all back; others keep what they once took, unless a process gives it to itself."""
        settings, engine = self.settings, self.engine
        by_kind = Counter(actor.kind for actor in actors)
        alone = settings.engine_option(SHARE) is not None  # it takes its share and no more
        processes = {actor.process for actor in actors if actor.kind == LEARNER or not alone}
        one = not alone and len({actor.process for actor in actors}) == 1 < len(actors)
        busy = self.learner if by_kind[LEARNER] else {}
        idle, waiting = engine.awake, busy
        if settings.sleep_while_learning:
            idle, waiting = engine.asleep, resting(self.shape, settings)
        elif one:
            idle, waiting = {"engine's weights": engine.weights}, states(self.shape, settings)
        reserve = {"reserve": RESERVE_BYTES * len(processes)} if processes else {}
        return Gpu(
            tuple(actors),
            _times(busy, by_kind[LEARNER]) | _times(idle, by_kind[ENGINE]) | reserve,
            _times(waiting, by_kind[LEARNER]) | _times(engine.awake, by_kind[ENGINE]) | reserve,
        )


def make_plan(shape: ModelShape, settings: Settings, machine: Machine) -> Plan:
    """The plan of a run. Activations are recomputed, where this is left open, if it does not fit otherwise."""

    def decided(recompute: bool | None) -> Plan:
        return Plan(shape, settings, replace(settings, checkpoint_activations=recompute), machine)

    if settings.checkpoint_activations is not None or not settings.num_gpus_per_learner:
        return decided(settings.checkpoint_activations)
    if (thrifty := decided(True)).excess > 0:
        return thrifty
    return plain if (plain := decided(False)).excess <= 0 else thrifty


def gigabytes(size: float) -> str:
    """In units of 1e9 bytes."""
    return f"{size / 1e9:.1f}" if size < 99.95e9 else f"{size / 1e9:.0f}"


def _times(kinds: Bytes, count: int) -> Bytes:
    return {kind: size * count for kind, size in kinds.items()} if count else {}
