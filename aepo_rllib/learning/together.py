"""`Together`: calls learners that wait for one another, and does not wait for those who would wait in vain.

Where one raises in the middle of a pass, the others wait for its part for as long as their process group does, which is
half an hour and more. Its error ends the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.rllib.utils.actor_manager import FaultTolerantActorManager, RemoteCallResults
from ray.rllib.utils.annotations import override

from aepo_rllib.rllib_seam import WaitingManager

LOOK_S = 0.5
"""Seconds between looks at the answers that have come."""
PATIENCE_S = 5.0
"""Seconds that the others have left once one has failed: those that miss one who was killed are told so at once."""


class Together(WaitingManager):
    """Of learner processes.

    Attributes:
        failures: What learners have raised, or died of, by their numbers; not of those that were ended for it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failures: dict[int, Exception] = {}
        self._ended: set[int] = set()

    @override(FaultTolerantActorManager)
    def foreach_actor(self, *args: Any, **kwargs: Any) -> RemoteCallResults:
        """As RLlib's."""
        answers = super().foreach_actor(*args, **kwargs)
        failed = [answer for answer in answers if not answer.ok and answer.actor_id not in self._ended]
        self.failures |= {answer.actor_id: answer.get() for answer in failed}
        return answers

    @override(WaitingManager)
    def wait(self, calls: Mapping[int, ray.ObjectRef]) -> None:
        """As they do by themselves; but once one has failed, those that do not answer soon are ended."""
        looked_at: set[ray.ObjectRef] = set()
        while True:
            ended, left = ray.wait([*calls.values()], num_returns=len(calls), timeout=LOOK_S)
            if not left:
                return
            if any(_failed(call) for call in ended if call not in looked_at):
                break
            looked_at.update(ended)
        _, left = ray.wait(left, num_returns=len(left), timeout=PATIENCE_S)
        for learner in (learner for learner, call in calls.items() if call in left):
            self._ended.add(learner)
            ray.kill(self.actors()[learner])
            self.set_actor_state(learner, healthy=False)


def _failed(call: ray.ObjectRef) -> bool:
    try:
        ray.get(call)
    except ray.exceptions.RayError:
        return True
    return False
