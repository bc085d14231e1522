"""`Machine`: what there is to run on, and who is put on which GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import psutil
import torch

from aepo_rllib.planning.settings import Settings
from aepo_rllib.training.gpu_places import laid_out

CARDS = {24: 25.3e9, 40: 42.4e9, 48: 47.7e9, 80: 85.5e9, 141: 150.8e9}
"""Bytes of memory on GPUs by the GB of their name."""
LEARNER, ENGINE = "learner", "engine"


@dataclass(frozen=True)
class Machine:
    """Nodes that are alike.

    Attributes:
        gpus: Of all nodes together.
        gpu_memory: Bytes of each.
        host_memory: Bytes of a node; None if unknown.
        nodes: How many.
    """

    gpus: int
    gpu_memory: int
    host_memory: int | None = None
    nodes: int = 1

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        memory = min((torch.cuda.get_device_properties(n).total_memory for n in range(gpus)), default=0)
        return cls(gpus, memory, psutil.virtual_memory().total)


def card_bytes(gigabytes: float) -> int:
    """Memory of a GPU of this name; a number that no card is named by is GiB."""
    return int(CARDS.get(int(gigabytes), gigabytes * 2**30) if gigabytes == int(gigabytes) else gigabytes * 2**30)


class Actor(NamedTuple):
    """A part of a run that has a GPU, or a share of one.

    Attributes:
        kind: LEARNER or ENGINE.
        process: Number of the process that it is in.
        gpus: How many, as Ray is asked.
    """

    kind: str
    process: int
    gpus: float


def placed(settings: Settings) -> list[list[Actor]]:
    """The actors on every GPU, as Ray places them: in order of birth, a share on the GPU that has least room for it.

    The algorithm's own process asks Ray for nothing, and takes the first GPU.
    """
    runners = settings.num_env_runners + settings.evaluation_num_env_runners
    actors = [Actor(ENGINE, 1 + n, settings.num_gpus_per_env_runner) for n in range(runners)]
    actors += [Actor(LEARNER, 1 + runners + n, settings.num_gpus_per_learner) for n in range(settings.num_learners)]
    found = [[actors[place] for place in places] for places in laid_out([actor.gpus for actor in actors])]
    own = _own(settings)
    return [own + found[0], *found[1:]] if own and found else found or ([own] if own else [])


def _own(settings: Settings) -> list[Actor]:
    """Of the algorithm's own process."""
    has_engine = settings.num_env_runners == 0 or settings.local_evaluation
    engine = [Actor(ENGINE, 0, settings.num_gpus_per_env_runner)] * has_engine
    learner = [Actor(LEARNER, 0, settings.num_gpus_per_learner)] * (settings.num_learners == 0)
    return [actor for actor in engine + learner if actor.gpus]
