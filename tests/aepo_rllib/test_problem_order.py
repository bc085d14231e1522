"""The order of problems: seeded permutations end to end, a pure function of the step."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.experience.curriculum import Curriculum
from aepo_rllib.experience.problem_order import problems_of_step


def stream(steps: int, **settings: int) -> list[int]:
    return list(chain.from_iterable(problems_of_step(step, **settings) for step in range(steps)))


@given(batch_size=st.integers(1, 9), problem_count=st.integers(1, 12), seed=st.integers(0, 5), epochs=st.integers(1, 3))
def test_every_problem_comes_once_per_epoch(batch_size: int, problem_count: int, seed: int, epochs: int) -> None:
    steps = -(-epochs * problem_count // batch_size)
    order = stream(steps, batch_size=batch_size, problem_count=problem_count, seed=seed)
    for epoch in range(epochs):
        assert sorted(order[epoch * problem_count : (epoch + 1) * problem_count]) == list(range(problem_count))


def test_a_step_crosses_the_border_of_two_epochs() -> None:
    settings = {"batch_size": 4, "problem_count": 6, "seed": 3}
    assert stream(3, **settings) == stream(12, **(settings | {"batch_size": 1}))
    assert stream(3, **settings) == stream(1, **(settings | {"batch_size": 12}))


@given(step=st.integers(0, 200))
def test_a_step_needs_no_state_from_earlier_ones(step: int) -> None:
    settings = {"batch_size": 5, "problem_count": 7, "seed": 1}
    uninterrupted = stream(step + 1, **settings)[-5:]
    assert problems_of_step(step, **settings) == uninterrupted
    assert problems_of_step(step, **settings) == uninterrupted


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        problems_of_step(step, batch_size=50, problem_count=50, seed=seed) for step in range(3) for seed in range(3)
    ]
    assert len({tuple(order) for order in orders}) == len(orders)
    assert all(order != sorted(order) for order in orders)


@pytest.mark.parametrize("batch_size", [3, 7])
def test_a_batch_larger_than_the_set_repeats_it(batch_size: int) -> None:
    problems = problems_of_step(0, batch_size=batch_size, problem_count=3, seed=0)
    assert len(problems) == batch_size
    assert set(problems) == {0, 1, 2}
    assert all(type(problem) is int for problem in problems)


LEVELS = st.lists(st.sampled_from([None, 1, 2, 4.5]), min_size=2, max_size=12).filter(
    lambda levels: len({level for level in levels if level is not None}) > 1
)


@given(levels=LEVELS, steps=st.integers(1, 40), batch_size=st.integers(1, 5), seed=st.integers(0, 3))
def test_levels_join_at_equal_distances_the_easiest_first(
    levels: list[float | None], steps: int, batch_size: int, seed: int
) -> None:
    known = sorted({level for level in levels if level is not None})
    settings = {"batch_size": batch_size, "problem_count": len(levels), "seed": seed}
    for step in range(steps + 30):
        places = range(len(known))
        here = {known[place] for place in places if step * (len(known) - 1) >= place * steps} | {None}
        drawn = problems_of_step(step, curriculum=Curriculum(levels, steps), **settings)
        assert len(drawn) == batch_size
        assert {levels[problem] for problem in drawn} <= here
    tail = [
        problem
        for step in range(steps, steps + len(levels))
        for problem in problems_of_step(step, curriculum=Curriculum(levels, steps), **settings)
    ]
    for epoch in range(batch_size):  # in the end all problems come once per epoch, as without a curriculum
        assert sorted(tail[epoch * len(levels) : (epoch + 1) * len(levels)]) == list(range(len(levels)))


@pytest.mark.parametrize("levels", [[None, None], [2, 2, None], []])
def test_one_level_is_no_curriculum(levels: list[float | None]) -> None:
    with pytest.raises(ValueError, match=r"curriculum_steps=10 needs problems of several levels, and these have "):
        Curriculum(levels, 10)
