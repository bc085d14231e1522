"""Which Qwen2.5 fits where: every entry of the stored table is computed anew, and the page shows it."""

from __future__ import annotations

import json

import pytest

from tests.support.fits import BEGIN, CARDS, END, FORMS, GOLDEN, GPUS, PAGE, as_markdown, entries
from tests.support.shapes import QWEN

STORED = json.loads(GOLDEN.read_text())


QUICK = ("0.5b",)
"""The others take fifteen seconds each."""


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=() if model in QUICK else pytest.mark.slow) for model in QWEN]
)
def test_every_entry_is_what_is_planned(model: str) -> None:
    found = dict(entries(model))
    assert found == {name: entry for name, entry in STORED.items() if name.startswith(f"{model},")}
    assert len(found) == len(GPUS) * len(CARDS) * len(FORMS)


def test_the_page_shows_the_table() -> None:
    shown = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert shown.strip() == as_markdown(STORED).strip()
