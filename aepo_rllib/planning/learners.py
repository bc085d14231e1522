"""Bytes of one learner on its device, by kind."""

from __future__ import annotations

from aepo_rllib.planning.fake_pass import pass_bytes
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import ModelShape

Bytes = dict[str, int]
"""By kind."""
LAYERS_GATHERED = 2
"""Decoder layers whose weights FSDP2 holds at a time: the one that runs, and the next."""


def states(shape: ModelShape, settings: Settings) -> Bytes:
    """What lasts from step to step: weights, their gradients, Adam moments.

    In 16 bits they are float32 all the same, but for frozen weights beside adapters.
    """
    learners = settings.learners if settings.sharded else 1
    trained = settings.trained(shape) * settings.wide // learners
    frozen = shape.parameters * settings.itemsize // learners if settings.lora else 0
    kinds = {"weights": frozen + trained, "gradients": trained, "Adam moments": 2 * trained}
    if settings.reference and not settings.lora:
        kinds["weights of the reference"] = shape.parameters * settings.itemsize // learners
    return kinds


def learning(shape: ModelShape, settings: Settings) -> Bytes:
    """At the worst moment of an optimizer step."""
    work = settings.work()
    counted = pass_bytes(shape, work)
    copied = work.half and not work.lora and not work.checkpoint
    copies = sum(shape.layers) * settings.itemsize if copied else 0
    passing = {
        "16-bit copies of weights": copies,
        "gathered weights": _gathered(shape, settings) if settings.sharded else 0,
        "activations": counted.kept - copies,
        "head and backward": counted.peak - counted.kept,
    }
    lasting = states(shape, settings)
    # AdamW takes a root of every second moment, all at once, when activations have gone.
    stepping = {"AdamW's step": lasting["gradients"]}
    largest = max(passing, stepping, key=lambda kinds: sum(kinds.values()))
    return {kind: size for kind, size in {**lasting, **largest}.items() if size}


def resting(shape: ModelShape, settings: Settings) -> Bytes:
    """While engines sample, where these have the rest of the memory."""
    return {kind: size for kind, size in states(shape, settings).items() if kind != "gradients"}


def _gathered(shape: ModelShape, settings: Settings) -> int:
    """Weights of FSDP2 that are there whole, and one layer's gradients: whole, and in float32 to be summed."""
    layer = max(shape.layers)
    reduced = 0 if settings.lora else layer * (settings.itemsize + settings.wide)
    return (shape.rest + LAYERS_GATHERED * layer) * settings.itemsize + reduced
