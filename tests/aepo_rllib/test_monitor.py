"""When the monitor speaks, and when it must not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aepo_rllib.control.monitor import WINDOW, ControlMonitor, ControlStep

TARGET = 0.8


def feed(entropies, settings, positives=20, target=TARGET, monitor=None) -> tuple[ControlMonitor, list[str]]:
    monitor = monitor or ControlMonitor()
    said = []
    for entropy, setting in zip(entropies, np.broadcast_to(settings, len(entropies)), strict=True):
        said += monitor.observe(control_step(float(entropy), float(setting), positives, target))
    return monitor, said


def control_step(entropy: float, setting: float, positives: int | None = 3, target: float = TARGET) -> ControlStep:
    """Of a dial between 0.8 and 1.2."""
    return ControlStep(entropy, target, setting, positives, stop=(setting == 1.2) - (setting == 0.8))


def switched(entropies) -> np.ndarray:
    return np.where(np.asarray(entropies) < TARGET, 1.2, 0.8)


def test_a_switch_that_holds_its_target_is_left_alone() -> None:
    entropies = TARGET + 0.02 * np.random.default_rng(0).standard_normal(300)
    monitor, said = feed(entropies, switched(entropies))
    assert said == []
    assert not monitor.stuck
    assert 0.3 < monitor.hot_share < 0.7


@pytest.mark.parametrize(
    ("level", "temperature", "words"),
    [
        (
            0.7,
            1.2,
            (
                "in 50 of the last 50 steps, with a setting of 1.2",
                "0.100 nats/token below its target 0.800",
                "raise alpha",
            ),
        ),
        (0.95, 0.8, ("setting of 0.8", "0.150 nats/token above its target", "lower temperature_low")),
    ],
)
def test_always_at_one_bound_and_no_closer_is_stuck(level: float, temperature: float, words: tuple[str, ...]) -> None:
    monitor, said = feed([level] * WINDOW, temperature)
    assert monitor.stuck
    assert monitor.hot_share == (temperature > 1)
    [text] = said
    assert all(word in text for word in words), text


def test_a_run_that_is_still_settling_is_left_alone() -> None:
    """From the base entropy down to half of it in 120 steps, as a default run does, always cold."""
    monitor, said = feed(np.linspace(0.88, 0.45, 120), 0.8, target=0.44)
    assert said == []
    assert monitor.hot_share == 0.0


def test_an_entropy_that_slides_away_is_stuck_although_it_moves() -> None:
    assert feed(np.linspace(0.78, 0.6, 100), 1.2)[1]


@pytest.mark.parametrize(("second_half", "settling"), [(0.63, True), (0.615, False)])
def test_the_second_half_of_the_window_is_compared_with_the_first(second_half: float, settling: bool) -> None:
    """An error of 0.2 that falls to 0.17 is closing in, though it is not below 90 % of the whole window's 0.185."""
    monitor, said = feed([0.6] * (WINDOW // 2) + [second_half] * (WINDOW // 2), 1.2)
    assert monitor.stuck is not settling
    assert len(said) == (not settling)


def test_near_enough_is_not_worth_a_word() -> None:
    assert feed([0.97 * TARGET] * 200, 1.2)[1] == []


def test_it_speaks_once_per_window() -> None:
    assert len(feed([0.5] * (3 * WINDOW), 1.2)[1]) == 3


def test_nothing_is_said_before_a_whole_window() -> None:
    assert feed([0.5] * (WINDOW - 1), 1.2)[1] == []


def test_missing_positives_are_named() -> None:
    _, said = feed([TARGET] * WINDOW, 1.2, positives=0)
    assert len(said) == 1
    assert "no tempered completion was correct in 50 of the last 50 steps" in said[0]


def test_a_dial_that_turns_no_stream_misses_no_positives() -> None:
    assert feed([TARGET] * WINDOW, 1.2, positives=None)[1] == []


def test_hot_is_what_lies_above_the_neutral_setting() -> None:
    """Of a coefficient: 0, not 1."""
    monitor, _ = feed([TARGET] * 4, [0.0, 0.1, 0.2, 0.0], monitor=ControlMonitor(neutral=0.0))
    assert monitor.hot_share == 0.5


def test_a_restored_monitor_goes_on_where_it_was() -> None:
    first, _ = feed([0.5] * (WINDOW - 1), 1.2)
    second = ControlMonitor()
    second.set_state(json.loads(json.dumps(first.get_state())))
    assert second.hot_share == first.hot_share
    assert second.observe(control_step(0.5, 1.2)) == first.observe(control_step(0.5, 1.2)) != []
    third = ControlMonitor()
    third.set_state(first.get_state())
    assert third.observe(control_step(0.5, 1.2)) == []  # it has just spoken
