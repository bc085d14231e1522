"""What the samples of one problem hold."""

from __future__ import annotations

import math

import pytest

from aepo_rllib.envs.tally import Tally


def test_one_answer_on_many_ways_has_no_entropy_and_all_the_diversity() -> None:
    tally = Tally.of(["12"] * 4, [True] * 4, ["a", "b", "c", "d"])
    assert tally == Tally(4, (4,), (), (1, 1, 1, 1))
    assert tally.answer_entropy() == tally.plug_in_answer_entropy() == 0
    assert tally.distinct_answers(4) == tally.distinct_correct_answers(2) == 1
    assert (tally.distinct_correct_paths(4), tally.path_diversity()) == (4, 1)


def test_answers_are_one_by_spelling_and_verdict_as_in_a_vote() -> None:
    answers = ["7", "07", "$7$", r"62.5\%", "62.5", "", "8"]
    right = [True, True, True, True, False, False, False]
    tally = Tally.of(answers, right, ["p", "p", "q", "r", "", "", ""])
    assert (tally.correct_answers, tally.wrong_answers, tally.correct_paths) == ((3, 1), (1, 1), (2, 1, 1))
    assert tally.plug_in_answer_entropy() == pytest.approx(-(0.5 * math.log(0.5) + 3 / 6 * math.log(1 / 6)))
    assert tally.distinct_answers(7) == 4
    assert tally.path_diversity() == pytest.approx(5 / 6)  # of 6 pairs one is alike


def test_samples_without_an_answer_are_draws_of_nothing() -> None:
    tally = Tally.of(["", "", "5", "6"], [False] * 4, [""] * 4)
    assert tally.distinct_answers(1) == 0.5
    assert tally.plug_in_answer_entropy() == pytest.approx(math.log(2))
    none = Tally.of(["", ""], [False, False], ["", ""])
    assert none.answer_entropy() == none.distinct_answers(2) == none.distinct_correct_paths(2) == 0
    assert none.path_diversity() is None


def test_diversity_of_paths_does_not_depend_on_how_many_are_correct() -> None:
    few = Tally(16, (2,), (14,), (1, 1))
    many = Tally(16, (16,), (), (1,) * 16)
    assert few.path_diversity() == many.path_diversity() == 1
    assert few.distinct_correct_paths(4) < many.distinct_correct_paths(4)
