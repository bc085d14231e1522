"""Entropy targets: levels, schedules, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.control.targets import parse_level, schedule_points, target_at


@pytest.mark.parametrize(
    ("level", "parsed"),
    [
        (0.43, (0.43, False)),
        (1, (1.0, False)),
        ("0.43", (0.43, False)),
        (" 0.43 ", (0.43, False)),
        ("0.5x", (0.5, True)),
        ("0.5 x", (0.5, True)),
        ("1x", (1.0, True)),
        ("1e-2x", (0.01, True)),
        (1e-05, (1e-05, False)),
        ("+2", (2.0, False)),
    ],
)
def test_levels(level: float | str, parsed: tuple[float, bool]) -> None:
    assert parse_level(level) == parsed


@pytest.mark.parametrize(
    "level",
    [0, 0.0, "0", "0x", -0.5, "-0.5x", float("nan"), float("inf"), "nan", "inf", "1e999", "x", "abc", "", " ", "0.5xx",
     "x0.5", "0.5y", "1.2.3", "1 2", True, None],
)  # fmt: skip
def test_what_is_no_level_is_refused_by_name(level: object) -> None:
    with pytest.raises(ValueError, match="no entropy target") as error:
        parse_level(level)  # type: ignore[arg-type]
    assert repr(level) in str(error.value)


def test_a_constant_target_holds_at_every_step() -> None:
    for step in (0, 1, 1000):
        assert target_at(0.43, step, base_entropy=2.0) == 0.43
        assert target_at("0.5x", step, base_entropy=2.0) == 1.0


@pytest.mark.parametrize(
    ("step", "target"), [(0, 2.0), (25, 1.75), (50, 1.5), (100, 1.0), (150, 0.7), (200, 0.4), (201, 0.4), (10_000, 0.4)]
)
def test_a_schedule_is_linear_between_its_points_and_flat_after_them(step: int, target: float) -> None:
    schedule = [[0, "1x"], [100, "0.5x"], [200, 0.4]]
    assert target_at(schedule, step, base_entropy=2.0) == pytest.approx(target)  # type: ignore[arg-type]


def test_a_schedule_of_one_point_is_a_constant() -> None:
    assert target_at([(0, 0.3)], 17, base_entropy=9.0) == 0.3


@given(step=st.integers(0, 40), data=st.data())
def test_a_schedule_stays_between_neighbouring_levels(step: int, data: st.DataObject) -> None:
    steps = sorted(data.draw(st.sets(st.integers(1, 30), max_size=4)) | {0})
    levels = data.draw(st.lists(st.floats(0.01, 3), min_size=len(steps), max_size=len(steps)))
    target = target_at(list(zip(steps, levels, strict=True)), step, base_entropy=1.0)
    before = max(index for index, point in enumerate(steps) if point <= step)
    neighbours = levels[before : before + 2]
    assert min(neighbours) - 1e-12 <= target <= max(neighbours) + 1e-12
    if step in steps:
        assert target == levels[steps.index(step)]


@pytest.mark.parametrize(
    "schedule",
    [[], [(1, 0.5)], [(-1, 0.5), (0, 0.5)], [(0, 0.5), (0, 0.6)], [(0, 0.5), (20, 0.6), (10, 0.7)]],
)
def test_a_schedule_needs_increasing_steps_from_zero(schedule: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match="increasing whole steps that start at 0"):
        schedule_points(schedule)


@pytest.mark.parametrize("schedule", [[(0, 0.5), (10, 0)], [(0, "abc")], [(0, 0.5), (10, "x")]])
def test_a_schedule_with_a_bad_level_is_refused(schedule: list[tuple[int, float | str]]) -> None:
    with pytest.raises(ValueError, match="no entropy target"):
        schedule_points(schedule)


@pytest.mark.parametrize("target", [[5], [[0]], [[0, 0.5, 1]], {"a": 1}, 3j])
def test_what_is_neither_a_level_nor_a_list_of_points_is_refused(target: object) -> None:
    with pytest.raises(ValueError, match="no target entropy: neither a level nor a list"):
        schedule_points(target)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [0.5, "0"])
def test_steps_of_a_schedule_are_whole(step: object) -> None:
    with pytest.raises(ValueError, match="increasing whole steps"):
        schedule_points([(0, 0.5), (step, 0.4)])  # type: ignore[list-item]
