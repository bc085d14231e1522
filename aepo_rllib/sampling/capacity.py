"""How many env runners there are, and how often they had to be brought back: lost capacity is seen, not guessed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

HOUR_S = 3600.0


class CapacityError(RuntimeError):
    """Env runners are lost faster than they should be, or all of them are gone."""


class RunnerWatch:
    """Watches the remote env runners of one algorithm.

    Args:
        wanted: How many were asked for.
        restarts_per_hour: Restarts of each runner within an hour that are taken for bad luck.
        clock: Seconds that never go back.
    """

    def __init__(self, wanted: int, restarts_per_hour: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.wanted, self.restarts_per_hour = wanted, restarts_per_hour
        self._clock = clock
        self._restarts: deque[float] = deque()
        self._healthy = wanted

    def restarted(self, count: int) -> None:
        """Note that so many runners have come back.

        Raises:
            CapacityError: it was too often within the last hour.
        """
        now = self._clock()
        self._restarts.extend([now] * count)
        while self._restarts and self._restarts[0] <= now - HOUR_S:
            self._restarts.popleft()
        if len(self._restarts) > self.restarts_per_hour * self.wanted:
            raise CapacityError(
                f"env runners died {len(self._restarts)} times within an hour, too often for {self.wanted} with "
                f"max_env_runner_restarts_per_hour={self.restarts_per_hour}: look for what kills them (memory, a GPU, "
                "another program), or raise the option"
            )

    def observe(self, healthy: int) -> str | None:
        """What to say of the present number of healthy runners; None where it has not changed."""
        before, self._healthy = self._healthy, healthy
        if healthy < before:
            return f"{healthy} of {self.wanted} env runners are left; sampling takes longer until the others are back"
        if healthy > before:
            return f"{healthy} of {self.wanted} env runners are there again"
        return None
