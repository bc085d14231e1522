"""Reading the final answer out of a completion."""

from __future__ import annotations

import time

import pytest

from aepo_rllib.envs.grading import extract_answer
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{ 4 }", "4"),
        (r"\fbox{7}", "7"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{1} no, \fbox{2}", "2"),
        (r"\fbox{1} no, \boxed{2}", "2"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\frac{1}{2}} and {more}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\left\{ x \right.} }", r"\left\{ x \right."),
        ("\\boxed{a\\\\}", "a\\\\"),
        ("\\boxed{1\n}", "1"),
        (r"\boxed{" + "9" * MAX_ANSWER_CHARS + "}", "9" * MAX_ANSWER_CHARS),
        ("", None),
        ("the answer is 42", None),
        (r"boxed{42}", None),
        (r"\boxed{}", None),
        (r"\boxed{   }", None),
        (r"\boxed{42", None),
        (r"\boxed{1} then \boxed{2", None),
        (r"\boxed{1} then \boxed{}", None),
        (r"\boxed{1\}", None),
        (r"\boxed{" + "9" * (MAX_ANSWER_CHARS + 1) + "}", None),
    ],
)
def test_the_last_box_is_the_answer(completion: str, answer: str | None) -> None:
    assert extract_answer(completion) == answer


@pytest.mark.parametrize("piece", [r"\boxed{", r"\fbox{", "{", "}", " ", "\\", "1", r"\boxed{1}", r"\boxed{{"])
def test_hostile_text_takes_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = r"\boxed{" + piece * (size // len(piece))
        start = time.perf_counter()
        extract_answer(text)
        return time.perf_counter() - start

    short, long = (min(seconds(size) for _ in range(3)) for size in (100_000, 200_000))
    assert long < 0.2
    assert long < 5 * short + 0.01
