"""`PendingCheckpoint`: a checkpoint that learners are writing while training goes on."""

from __future__ import annotations

from pathlib import Path

from ray.rllib.core import COMPONENT_LEARNER_GROUP

from aepo_rllib.learning.learner_group import TextLearnerGroup
from aepo_rllib.learning.optimizer_step import naming_lost_learners
from aepo_rllib.learning.shards import Digests
from aepo_rllib.support.sealed_folder import AppearingFolder


class PendingCheckpoint:
    """It appears when `poll` or `wait` finds that all is written; a run that ends before leaves none.

    Args:
        folder: Where it is written.
        group: The learners, who have begun.
    """

    def __init__(self, folder: AppearingFolder, group: TextLearnerGroup) -> None:
        self._folder, self._group, self._there = folder, group, False
        self._over = False

    @property
    def path(self) -> Path:
        """Where it appears."""
        return self._folder.final

    def poll(self) -> bool:
        """Whether it has appeared.

        Raises:
            LearnerLost: a learner has died.
            Exception: it cannot be written; what has been is removed.
        """
        return self._settle(wait=False)

    def wait(self) -> None:
        """Wait until it has appeared; raises as `poll`."""
        self._settle(wait=True)

    def _settle(self, *, wait: bool) -> bool:
        if self._over:
            return self._there
        try:
            with naming_lost_learners(self._group):
                digests: Digests | None = self._group.wait() if wait else self._group.saved()
            if digests is None:
                return False
            self._folder.appear(known={f"{COMPONENT_LEARNER_GROUP}/{name}": each for name, each in digests.items()})
        except BaseException:
            self._folder.abandon()
            self._over = True
            raise
        self._there = self._over = True
        return True
