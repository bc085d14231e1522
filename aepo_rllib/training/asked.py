"""`Asked`: groups that a training step has asked for and may not have looked at yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aepo_rllib.experience.groups import Groups
from aepo_rllib.rollout import RolloutRequest


class Asked:
    """Groups of completions that are sampled when they are first looked at, with all others asked for by then.

    Args:
        request: What is asked for.
        sample: Samples it, and calls `bring`.
    """

    def __init__(self, request: RolloutRequest, sample: Callable[[], Any]) -> None:
        self.request, self._sample = request, sample
        self._groups: Groups | None = None

    @property
    def waits(self) -> bool:
        """Whether nobody has looked at it yet."""
        return self._groups is None

    def bring(self, groups: Groups) -> None:
        """Take over what was sampled."""
        self._groups = groups

    @property
    def groups(self) -> Groups:
        """A group of graded completions for every problem.

        Raises:
            Exception: see `SamplerSide.sample`.
        """
        if self._groups is None:
            self._sample()
        assert self._groups is not None
        return self._groups
