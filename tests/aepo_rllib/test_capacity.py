"""Lost env runners are seen, and counted by the hour."""

import pytest

from aepo_rllib.sampling.capacity import HOUR_S, CapacityError, RunnerWatch


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self):
        return self.now


def test_a_change_of_capacity_is_said_once():
    watch = RunnerWatch(3, 10)
    assert [watch.observe(healthy) for healthy in (3, 3)] == [None, None]
    assert "2 of 3 env runners are left" in watch.observe(2)
    assert watch.observe(2) is None
    assert "0 of 3 env runners are left" in watch.observe(0)
    assert "3 of 3 env runners are there again" in watch.observe(3)
    assert watch.observe(3) is None


def test_restarts_are_counted_by_the_hour_and_not_by_the_run():
    clock = Clock()
    watch = RunnerWatch(2, 3, clock=clock)
    for _ in range(1000):  # a restart every ten minutes, for a week
        watch.restarted(1)
        clock.now += HOUR_S / 6
    watch = RunnerWatch(2, 3, clock=clock)
    watch.restarted(6)
    clock.now += HOUR_S - 1
    with pytest.raises(CapacityError, match=r"died 7 times within an hour.* max_env_runner_restarts_per_hour=3"):
        watch.restarted(1)
    clock.now += 1
    watch.restarted(5)  # of the seven, one is within the last hour
    with pytest.raises(CapacityError):
        watch.restarted(1)
