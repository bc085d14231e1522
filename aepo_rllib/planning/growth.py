"""What learners that share their weights hold and send, on any number of GPUs: closed forms, nothing is counted."""

from __future__ import annotations

from typing import NamedTuple

from aepo_rllib.planning.hosts import stored_bytes
from aepo_rllib.planning.learners import states
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import ModelShape

GPUS_OF_NODE = 8


class Growth(NamedTuple):
    """A run with a learner on every GPU. Bytes.

    Attributes:
        nodes: Of 8 GPUs.
        at_rest: On each GPU from step to step: weights, gradients, Adam moments.
        passes: Of every learner, in an optimizer step.
        into_gpu: What each learner is sent in an optimizer step, by those of its node or others.
        into_node: What at least has to come over the network into each node for it; 0 on one node.
        update: What comes into each node, or is read there, with every weight update.
        checkpoint: What each learner writes for a checkpoint.
    """

    nodes: int
    at_rest: int
    passes: int
    into_gpu: int
    into_node: int
    update: int
    checkpoint: int


def growth(shape: ModelShape, settings: Settings) -> Growth:
    """What a run's size does to its learners.

    With P parameters, L of them in decoder layers, and N learners, each learner gathers in every pass the parts that it
    has not: layers forward and once more backward, what is outside of them once, and is sent its part of all others'
    gradients. That is (N - 1) / N of 2 (P + L) + 4 P bytes in 16 bits. A node has 8 / N of every weight, and sums
    the gradients of its own learners first, so that (N - 8) / N of the same bytes come into it from others.
    """
    learners = settings.learners
    gathered = settings.itemsize * (shape.parameters + sum(shape.layers))
    summed = settings.wide * settings.trained(shape)
    passes = -(-settings.rows_of_step() // settings.rows_of_pass())
    sent = passes * (gathered + summed)
    own = min(GPUS_OF_NODE, learners)
    return Growth(
        nodes=-(-learners // GPUS_OF_NODE),
        at_rest=sum(states(shape, settings).values()),
        passes=passes,
        into_gpu=sent * (learners - 1) // learners,
        into_node=sent * (learners - own) // learners,
        update=shape.parameters * settings.itemsize,
        checkpoint=stored_bytes(shape, settings) // learners,
    )
