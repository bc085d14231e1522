"""What is measured on a run's entropy, on curves whose measures are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from aepo_rllib.study import measures
from aepo_rllib.study.intervals import over_seeds, over_seeds_and_problems

WINDOW = 4


def constant(value: float, steps: int) -> np.ndarray:
    return np.full(steps, value)


def test_running_means_are_those_of_every_window() -> None:
    values = np.random.default_rng(0).random(13)
    expected = [values[end - WINDOW : end].mean() for end in range(WINDOW, 14)]
    np.testing.assert_allclose(measures.running_means(values, WINDOW), expected)
    assert not len(measures.running_means(values[:3], WINDOW))


def test_a_curve_beside_its_target_has_that_error_all_the_time() -> None:
    entropy, target = constant(0.55, 40), constant(0.5, 40)
    assert measures.mean_error(entropy, target, WINDOW) == pytest.approx(0.1)
    assert measures.largest_error(entropy, target, WINDOW) == pytest.approx(0.1)


def test_errors_are_those_of_the_second_half_alone_and_of_means() -> None:
    # Wild in the first half; in the second it swings by 0.2 around the target with a period that a window averages out.
    entropy = np.concatenate([constant(9.0, 20), 0.5 + 0.2 * np.tile([1, 1, -1, -1], 5)])
    assert measures.mean_error(entropy, constant(0.5, 40), WINDOW) == pytest.approx(0, abs=1e-12)
    assert measures.mean_error(entropy, constant(0.5, 40), 2) == pytest.approx(0.2 * 10 / 19 / 0.5)
    assert measures.largest_error(entropy, constant(0.5, 40), 2) == pytest.approx(0.4)


def test_an_exponential_settles_when_its_mean_is_within_the_tolerance() -> None:
    steps = np.arange(1, 201)
    entropy, target = 0.5 + 0.4 * np.exp(-steps / 20), constant(0.5, 200)
    # The mean of a window that ends at t is 0.5 + 0.4 exp(-t / 20) m, m the mean of exp(j / 20) for j = 0, 1, 2, 3.
    m = np.mean(np.exp(np.arange(WINDOW) / 20))
    expected = math.ceil(20 * math.log(0.4 * m / (measures.TOLERANCE * 0.5)))
    assert measures.settling_step(entropy, target, WINDOW) == expected


def test_a_curve_that_leaves_again_settles_after_that_and_one_that_stays_away_never() -> None:
    entropy = constant(0.5, 60)
    assert measures.settling_step(entropy, constant(0.5, 60), WINDOW) == WINDOW
    entropy[29] = 9.0  # step 30 is in windows up to the one that ends with step 33
    assert measures.settling_step(entropy, constant(0.5, 60), WINDOW) == 34
    entropy[-1] = 9.0
    assert math.isnan(measures.settling_step(entropy, constant(0.5, 60), WINDOW))


@pytest.mark.parametrize(("start", "lowest"), [(0.9, 0.4), (0.1, 0.6)])
def test_overshoot_is_what_goes_beyond_the_target_from_where_the_run_starts(start: float, lowest: float) -> None:
    entropy = np.concatenate([np.linspace(start, lowest, 20), constant(lowest, 5), constant(0.5, 15)])
    of_change, of_target = measures.overshoot(entropy, constant(0.5, 40), start, WINDOW)
    assert of_change == pytest.approx(0.1 / 0.4)
    assert of_target == pytest.approx(0.1 / 0.5)


def test_what_does_not_get_there_has_no_overshoot_and_without_a_change_nobody_knows() -> None:
    entropy = np.linspace(0.9, 0.6, 40)
    assert measures.overshoot(entropy, constant(0.5, 40), 0.9, WINDOW) == (0, 0)
    assert all(map(math.isnan, measures.overshoot(entropy, constant(0.9, 40), 0.9, WINDOW)))


def test_duty_is_the_share_of_later_steps_at_each_bound() -> None:
    setting = np.array([0.8] * 10 + [0.8, 1.2, 1.2, 1.2, 1.0, 1.1, 0.9, 1.0, 1.2, 1.2])
    assert measures.duty(setting, 0.8, 1.2) == pytest.approx((0.1, 0.5))
    assert measures.duty(setting, 0.8, math.inf) == pytest.approx((0.1, 0))
    assert all(map(math.isnan, measures.duty(setting, 1.0, 1.0)))
    assert all(map(math.isnan, measures.duty(constant(np.nan, 10), 0.8, 1.2)))


def test_a_mean_is_that_of_the_known_values_of_the_second_half() -> None:
    assert measures.later_mean(np.array([9.0, 9.0, 1.0, np.nan, 3.0, 2.0])) == 2.5
    assert measures.later_mean(np.array([9.0, 1.0, 3.0])) == 3
    assert math.isnan(measures.later_mean(constant(np.nan, 4)))


def test_without_a_target_or_enough_steps_nothing_is_measured() -> None:
    nothing = constant(np.nan, 40)
    for measure in (measures.mean_error, measures.largest_error, measures.settling_step):
        assert math.isnan(measure(constant(0.5, 40), nothing, WINDOW))
        assert math.isnan(measure(constant(0.5, 2), constant(0.5, 2), WINDOW))
    assert all(map(math.isnan, measures.overshoot(constant(0.5, 40), nothing, 0.9, WINDOW)))


def test_the_interval_over_seeds_is_students() -> None:
    values = np.array([0.1, 0.4, 0.25])
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert over_seeds(values) == pytest.approx((values.mean(), *expected))
    assert math.isnan(over_seeds(values[:1]).low)


def test_the_interval_over_seeds_and_problems_has_the_spread_of_both() -> None:
    """For values that are a seed's part plus a problem's part, the variances of two bootstrap means add up."""
    rng = np.random.default_rng(1)
    seeds, problems = rng.normal(size=40), 2 * rng.normal(size=90)
    [interval] = over_seeds_and_problems((seeds[:, None] + problems)[..., None])
    spread = math.sqrt(seeds.var() / 40 + problems.var() / 90)
    assert interval.mean == pytest.approx(seeds.mean() + problems.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * spread, rel=0.06)


def test_one_seed_leaves_the_spread_over_problems() -> None:
    values = np.random.default_rng(2).random((1, 60, 2))
    again = over_seeds_and_problems(np.repeat(values, 3, axis=0))
    for one, three in zip(over_seeds_and_problems(values), again, strict=True):
        assert three.mean == pytest.approx(one.mean)
        assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.08)
