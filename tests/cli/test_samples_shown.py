"""Completions on the screen: a line each, clipped to the terminal, and nothing in them that a terminal acts upon."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from aepo_rllib.cli.samples import clipped, sample_lines, verdict_words


@given(st.text(st.characters(), max_size=2000), st.integers(20, 160))
def test_any_text_becomes_one_line_that_fits(text: str, width: int) -> None:
    line = clipped(text, width)
    assert cell_len(line) <= width
    assert not [character for character in line if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]


@given(st.text("ab 1+", min_size=1, max_size=500), st.integers(20, 160))
def test_a_text_that_is_clipped_keeps_its_beginning_and_its_end(text: str, width: int) -> None:
    whole, line = " ".join(text.split()), clipped(text, width)
    head, dots, tail = line.partition(" … ")
    assert line == whole or (dots and whole.startswith(head) and whole.endswith(tail) and len(tail) > width // 5)


def test_a_megabyte_is_clipped_at_once_and_ends_as_it_ends() -> None:
    assert clipped("\x1b[2J" * 250_000 + "\\boxed{7}", 40).endswith("\\boxed{7}")


def test_prompt_and_verdict_stand_above_one_another() -> None:
    records = [
        {
            "prompt": "Add 1 2.",
            "completion": "It is 3\x1b]0;title\x07",
            "verdict": "no_answer",
            "finish_reason": "length",
        },
        {"prompt": "Add\n4 5.", "completion": "9", "reward": 0.25, "finish_reason": "eos"},
    ]
    lines = list(sample_lines(records, 60))
    assert lines == [
        "  prompt              Add 1 2.",
        "  no answer, cut off  It is 3\\x1b]0;title\\x07",
        "  prompt              Add 4 5.",
        "  reward 0.25         9",
    ]
    assert verdict_words({"verdict": "correct", "finish_reason": "eos"}) == "correct"
