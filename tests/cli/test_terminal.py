"""No character of somebody's text moves the cursor, sets the title, turns the line or forges one."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.cli.errors import InputError
from aepo_rllib.support.terminal import visible


@given(st.text(st.characters()))
def test_nothing_that_a_terminal_acts_upon_is_shown(text):
    shown = visible(text)
    assert not [character for character in shown if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert visible(shown) == shown
    shown.encode("utf-8")
    assert visible(text, lines=True).replace("\n", "").replace("\t", "") == visible(
        text.replace("\n", "").replace("\t", "")
    )


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))))
def test_ordinary_text_is_shown_as_it_is(text):
    assert visible(text) == text


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "a\rb", "\u202eevil", "\ud800"])
def test_a_message_about_bad_input_is_shown_so(text):
    assert text not in InputError(f"problem {text}").format_message()


def test_a_message_is_one_line():
    assert InputError("first\nError: forged").format_message() == "first Error: forged"
