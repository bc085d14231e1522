r"""What two solutions must share to be one way to the answer."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.envs.content_path import content_path, path_key
from aepo_rllib.envs.problems.families.style import render

SAME = [
    ("So 7*4 gives 28, and now 28+6 makes 34.", r"First, $7 \times 4 = 28$. Then $28 + 6 = 34$."),
    ("7·4 is 28", r"\[ 7 \cdot 4 = 28 \]"),
    ("x = 5 - 2", "n equals 5 − 2"),
    ("a total of 1,000 and 0.50 and 007", "1000 then .5 then 7"),
    (r"$10{,}000$ or $10\,000$", "10000, 10,000"),
    (r"\frac{3}{4} \div \dfrac12", "3/4 ÷ (1/2)"),
    (r"\sqrt{16} \pm 2", "√16 ± 2"),
    ("x² = 9", "x^{2}=9"),
    ("1. Add 2+3\n2. Get 5", "Add 2+3\nGet 5"),
    ("**Step 1:** 2+3\n- so 5", "Step 1. 2+3\n\n### 5"),
    ("the two-digit number 12 and/or 7", "12, then 7"),
    ("a 3-digit number", "three digits: 3"),
    (r"90^\circ - 30^{\circ}", "90° - 30°"),
    ("<think>2+2</think> **4**", "2+2 is 4"),
    ("(2+3)*4 = 20", "2 + 3 * 4 = 20"),
    ("no numbers", "none here either"),
]
DIFFERENT = [
    ("3*4 is 12", "4*3 is 12"),
    ("2+3 is 5", "2*3 is 5"),
    ("2+3", "2 3"),
    ("12 5", "1 25"),
    ("0.5", "5"),
    ("1.25", "1,25"),
    ("x-5", "x+5"),
    ("5^2", "5 2"),
    ("then 5 then 6", "then 6 then 5"),
    ("2*2 = 4", "2*2"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_style_is_no_part_of_the_path(one: str, other: str) -> None:
    assert content_path(one) == content_path(other)
    assert path_key(one) == path_key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_numbers_operators_and_their_order_are(one: str, other: str) -> None:
    assert content_path(one) != content_path(other)
    assert path_key(one) != path_key(other)


def test_traces_in_all_styles_of_the_embedded_model_go_one_path_and_other_steps_another() -> None:
    rng = random.Random(0)
    traces = {render(["3+4=7", "7*5=35"], "(3+4)*5", rng) for _ in range(200)}
    assert len(traces) > 190
    assert {content_path(trace) for trace in traces} == {"3 + 4 7 7 * 5 35 3 + 4 * 5"}
    assert content_path(render(["4+3=7", "7*5=35"], "(4+3)*5", rng)) not in {content_path(trace) for trace in traces}


@given(st.text(alphabet=st.characters(), max_size=300) | st.text(alphabet="\\frac{}0123,.-+*/^ \nab<>√", max_size=300))
def test_no_text_breaks_it_and_what_it_keeps_is_a_path_of_its_own(text: str) -> None:
    path = content_path(text)
    assert set(path) <= set("0123456789.+-*/^√± ")
    assert len(path_key(text)) == 16


@pytest.mark.parametrize(
    "flood",
    [
        "\\frac{",
        "\\frac{1}{",
        "\\frac 1",
        "1,234",
        "1,",
        "9",
        "-",
        "- ",
        "*",
        "step 1",
        "\n",
        " \t",
        "<a",
        "a-",
        "{",
        "\ud800",
        "**",
        ".",
        "1.",
    ],
)
def test_a_flood_takes_no_longer_than_a_text(flood: str) -> None:
    text = flood * (2_000_000 // len(flood))
    started = time.perf_counter()
    content_path(text)
    assert time.perf_counter() - started < 1.0
