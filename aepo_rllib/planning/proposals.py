"""What to change so that a run fits: as few options as possible, and of as few the gentlest."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from aepo_rllib.models.lora import Lora
from aepo_rllib.planning.engines import PARTS, SHARE
from aepo_rllib.planning.plan import Plan, make_plan

LORA_RANK = 32
MOST_GPUS = 64
Changes = dict[str, Any]
"""Options and their new values."""
Lever = Callable[[Plan], Changes]
"""What it changes in a plan; nothing where it has nothing to change."""
TOGETHER: Changes = {"num_gpus_per_env_runner": 0.6, "num_gpus_per_learner": 0.4}
"""Shares by which Ray puts one env runner and one learner on every GPU."""


@dataclass(frozen=True)
class Proposal:
    """A way out.

    Attributes:
        plan: That fits; None if none does.
        changes: What it changes.
        advice: What would help where no option does.
    """

    plan: Plan | None
    changes: Changes
    advice: str = ""

    def words(self) -> str:
        """The changes as they are typed, or the advice."""
        return typed(self.changes) or self.advice


def propose(plan: Plan) -> Proposal:
    """The smallest change after which a plan fits; none for one that does."""
    if plan.fits:
        return Proposal(plan, {})
    if not _can_fit(plan):
        return Proposal(None, {}, _advice(plan))
    for count in range(1, len(LEVERS) + 1):
        for levers in combinations(LEVERS, count):
            changes = _pulled(plan, levers)
            if changes and (changed := plan.changed(**changes)).fits:
                return Proposal(changed, changes)
    return Proposal(None, {}, _advice(plan))


def spread(gpus: int) -> Changes:
    """How to use all GPUs: an env runner and a learner on each; in one process where there is one."""
    if gpus == 1:
        return {"num_learners": 0, "num_env_runners": 0, "num_gpus_per_env_runner": 1, "num_gpus_per_learner": 1}
    return {"num_learners": gpus, "num_env_runners": gpus, **TOGETHER}


def _pulled(plan: Plan, levers: tuple[Lever, ...], *, strict: bool = True) -> Changes:
    """What several levers change, one after the other; nothing where one has nothing to change, if this is strict.

    More learners come first, for what there is to share; passes come last, as large as the others leave room for, and
    are until then as small as they can be.
    """
    changes: Changes = {}
    smallest = {"tokens_per_backward": plan.settings.tokens_of(1)} if _smaller_passes in levers else {}
    for lever in sorted(levers, key=lambda lever: (lever is _smaller_passes) - (lever is _more_learners)):
        others = changes if lever is _smaller_passes else changes | smallest
        own = lever(plan.changed(**others) if others else plan)
        if strict and not own:
            return {}
        changes |= own
    return changes


def _recompute(plan: Plan) -> Changes:
    return {"checkpoint_activations": True} if plan.given.checkpoint_activations is False else {}


def _smaller_passes(plan: Plan) -> Changes:
    """The largest passes that fit, to three bits."""
    rows = plan.settings.rows_of_pass()

    def fits(rows: int) -> bool:
        return plan.changed(tokens_per_backward=plan.settings.tokens_of(rows)).fits

    if rows == 1 or not fits(1):
        return {}
    fitting = bisect_left(range(2, rows + 1), True, key=lambda rows: not fits(rows)) + 1
    tokens = plan.settings.tokens_of(fitting)
    unit = 2 ** max(tokens.bit_length() - 3, 0)
    return {"tokens_per_backward": max(tokens // unit * unit, plan.settings.tokens_of(1))}


def _share_weights(plan: Plan) -> Changes:
    return {"learner_sharding": "fsdp"} if plan.settings.num_learners > 1 and not plan.settings.sharded else {}


def _more_learners(plan: Plan) -> Changes:
    gpus = plan.machine.gpus
    return spread(gpus) if 1 < gpus > plan.settings.num_learners else {}


def _sleep(plan: Plan) -> Changes:
    together = any(len({actor.kind for actor in gpu.actors}) > 1 for gpu in plan.gpus)
    return {"sleep_while_learning": True} if together and not plan.settings.sleep_while_learning else {}


def _smaller_cache(plan: Plan) -> Changes:
    """The largest share of the GPU, in twentieths, that leaves the others enough."""
    share = plan.settings.engine_option(SHARE)
    if share is None or plan.excess <= 0:
        return {}
    for twentieths in range(math.ceil(share * 20) - 1, 0, -1):
        options = {**plan.settings.engine_options, SHARE: twentieths / 20}
        if plan.changed(engine_options=options).excess <= 0:
            return {"engine_options": options}
    return {}


LEVERS: tuple[Lever, ...] = (
    _recompute,
    _smaller_passes,
    _share_weights,
    _more_learners,
    _sleep,
    _smaller_cache,
)
"""Gentlest first."""


def _advice(plan: Plan) -> str:
    adapters = plan.changed(lora=Lora(LORA_RANK, 2 * LORA_RANK))
    ways = [f"LoRA (rank {LORA_RANK})"] if not plan.settings.lora and _can_fit(adapters) else []
    gpus = plan.machine.gpus * 2
    while 1 < gpus <= MOST_GPUS:
        per_node = max(plan.machine.gpus // plan.machine.nodes, 1)
        machine = replace(plan.machine, gpus=gpus, nodes=-(-gpus // max(per_node, 8)))
        larger = make_plan(plan.shape, replace(plan.given, **spread(gpus)), machine)
        if _can_fit(larger):
            ways.append(f"{gpus} GPUs")
            break
        gpus *= 2
    ways = [" or ".join(ways) + " would"] if ways else [f"try engine_options.{PARTS}, or a smaller model"]
    return f"nothing here makes it fit; {ways[0]}"


def _can_fit(plan: Plan) -> bool:
    """Whether the plan fits as it is, or with every lever pulled."""
    return plan.fits or plan.changed(**_pulled(plan, LEVERS, strict=False)).fits


def typed(changes: Mapping[str, Any]) -> str:
    """Options as `--set` takes them."""
    words = []
    for name, value in changes.items():
        if isinstance(value, Mapping):
            name, value = f"{name}.{SHARE}", value[SHARE]
        words.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    return " ".join(words)
