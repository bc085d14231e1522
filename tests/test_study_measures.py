"""What is measured on a run's entropy, on curves whose measures are known in closed form."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from aepo_rllib.study import measures
from aepo_rllib.study.intervals import crossing, over_seeds, over_seeds_and_problems
from aepo_rllib.study.labels import Label, write_labels
from aepo_rllib.study.markdown import TABLE_OF
from aepo_rllib.study.study import BASE_ARM, Study
from aepo_rllib.study.summary import Summary
from aepo_rllib.study.tables import Tables, table
from aepo_rllib.study.views import TABLES, View

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


def pass_at(ks: tuple[int, ...], rates: np.ndarray) -> np.ndarray:
    """pass@k of problems that are solved at these rates, for every k."""
    return 1 - (1 - rates[..., None]) ** np.array(ks)


def test_a_crossing_is_where_the_curves_cross_and_resamples_say_how_sure_it_is() -> None:
    """One model solves all problems with probability p, the other the share q of them at once and the rest never."""
    ks, p, q = (1, 2, 4, 8, 16, 32), 0.1, 0.5
    solved = np.arange(60) < 60 * q
    values = np.tile(pass_at(ks, np.full(60, p)) - solved[:, None], (3, 1, 1))
    found = crossing(ks, values)
    assert found is not None
    exact = math.log(1 - q) / math.log(1 - p)  # 6.6, between two values of k
    assert 4 < found.k < 8
    assert found.k == pytest.approx(exact, rel=0.05)
    assert found.low < exact < found.high
    assert found.share > 0.99
    assert found.told
    assert crossing(ks, -np.abs(values)) is None
    assert crossing(ks, np.zeros_like(values)) is None


def test_a_crossing_of_noise_is_not_told() -> None:
    noise = np.random.default_rng(4).normal(size=(3, 30, 4))
    values = noise - noise.mean(axis=(0, 1)) + np.array([0.01, 0.01, -0.01, -0.01])
    found = crossing((1, 2, 4, 8), values)
    assert found is not None
    assert not found.told


def summary_of(counts: dict[tuple[str, int, str], list[int]], n: int = 4) -> Summary:
    """Arms by seed and suite with the correct ones of n samples of every problem."""
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "checkpoint": "last",
            "suite": suite,
            "problem": str(place),
            "n": n,
            "correct": correct,
        }
        for (arm, seed, suite), problems in counts.items()
        for place, correct in enumerate(problems)
    ]
    arms = {arm: {"algo": "grpo"} for arm, _, _ in counts if arm != BASE_ARM}
    study = Study("mine", "", arms, (0, 1), steps=1, evaluation={}, with_base=True)
    return Summary(study, Tables(table("steps", []), table("trials", []), table("problems", rows)))


def test_suites_count_the_same_however_many_problems_they_have() -> None:
    counts = {("a", seed, suite): rows for seed in (0, 1) for suite, rows in (("one", [4, 0, 4, 4]), ("two", [1]))}
    summary = summary_of(counts)
    assert summary.mean_over_suites("a")[0].mean == pytest.approx((0.75 + 0.25) / 2)
    assert summary.pass_at_k("a")[0].mean == pytest.approx(13 / 20)
    assert summary.within(["two"]).pass_at_k("a")[0].mean == pytest.approx(0.25)
    lines = TABLE_OF["suites"](summary, View("mine", TABLES["suites"], ("a", BASE_ARM))).splitlines()
    assert lines[0] == "| arm | one | two | mean |"
    assert [cell.split()[0] for cell in lines[2].strip("| ").split(" | ")] == ["a", "0.750", "0.250", "0.500"]


def test_differences_are_paired_by_seed_and_the_untrained_model_stands_beside_all_seeds() -> None:
    counts = {
        (BASE_ARM, 0, "s"): [1, 2],
        ("a", 1, "s"): [4, 4],
        ("a", 0, "s"): [2, 2],
        ("b", 0, "s"): [0, 0],
        ("b", 7, "s"): [4, 4],
    }
    summary = summary_of(counts)

    def first(arm: str, other: str) -> float | None:
        found = summary.pass_at_k_minus(arm, other)
        return None if found is None else found[0].mean

    assert first("a", "b") == pytest.approx(0.5)  # of seed 0, which both have
    assert first("a", BASE_ARM) == pytest.approx((1 + 1 + 0.5 + 0.5) / 4 - (0.25 + 0.5) / 2)
    assert first(BASE_ARM, "a") == pytest.approx(-first("a", BASE_ARM))  # type: ignore[operator]
    assert first("a", "a") is None


def test_what_is_kept_and_what_it_costs_is_told_with_its_figures() -> None:
    def steps(arm: str, entropy: float, reward: float) -> list[dict[str, object]]:
        blank = {"completions": 8, "seconds": 1.0, "target": math.nan, "read": entropy, "setting": math.nan}
        run = {"arm": arm, "seed": 0, "entropy": entropy, "reward": reward}
        return [{**blank, **run, "step": number} for number in range(1, 5)]

    trials = [
        {"arm": arm, "seed": 0, "base_entropy": 0.9, "setting": "", "low": math.nan, "high": math.nan} for arm in "ag"
    ]
    counts = {(BASE_ARM, 0, "s"): [2, 1], ("g", 0, "s"): [4, 0], ("a", 0, "s"): [3, 1]}
    plain = summary_of(counts)
    study = replace(plain.study, reference="g", arms={"g": {}, "a": {}}, window=2)
    tables = replace(
        plain.tables,
        steps=table("steps", steps("g", 0.6, 0.5) + steps("a", 0.8, 0.4)),
        trials=table("trials", trials),
    )
    keeps, costs = TABLE_OF["kept"](Summary(study, tables), View("x", TABLES["kept"], ("g", "a"))).splitlines()
    assert "it ends at 0.800 nats of entropy per token, g at 0.600 (the base model has 0.900)" in keeps
    assert "100.0 % of the problems are solved within 4 tries, 50.0 % after g, 100.0 % by the base model" in keeps
    assert "+50.0 points [+0.0, +100.0], which may be noise" in keeps
    assert "a mean reward of 0.400 in the second half of training, g's is 0.500 (-0.100)" in costs
    assert "50.0 % of the first tries are right, g's 50.0 %: +0.0 points" in costs
    assert TABLE_OF["kept"](Summary(replace(study, reference=None), tables), View("x", TABLES["kept"], ("a",))) == ""


def test_names_of_crowded_points_do_not_cover_each_other() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rng = np.random.default_rng(5)
    places = np.vstack([0.5 + 0.02 * rng.normal(size=(18, 2)), [[0, 0], [1, 1], [0, 1], [1, 0], [0.7, 0.5]]])
    figure, axis = plt.subplots(figsize=(10, 7.5))
    axis.scatter(*places.T)
    axis.margins(0.1)
    figure.tight_layout()
    write_labels(axis, [Label(f"a method {place}", *xy, "k") for place, xy in enumerate(places)], np.empty((0, 2)))
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axis.texts]
    inside = axis.get_window_extent(renderer)
    assert len(boxes) == 23
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(inside.contains(*corner) for box in boxes for corner in box.corners())
    plt.close(figure)


def test_one_seed_leaves_the_spread_over_problems() -> None:
    values = np.random.default_rng(2).random((1, 60, 2))
    again = over_seeds_and_problems(np.repeat(values, 3, axis=0))
    for one, three in zip(over_seeds_and_problems(values), again, strict=True):
        assert three.mean == pytest.approx(one.mean)
        assert three.high - three.low == pytest.approx(one.high - one.low, rel=0.08)
