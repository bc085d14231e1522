"""What the documents say of the code is so."""

import re
from pathlib import Path

from aepo_rllib import methods_page, metrics_page, options_page

ROOT = Path(__file__).parent.parent


def test_every_test_that_a_promise_names_is_there():
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {
        name for file in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert len(named) > 50
    assert not named - there
    files = set(re.findall(r"tests/[\w/]+\.py", text))
    assert not [file for file in files if not (ROOT / file).is_file()]


def test_every_row_of_the_table_has_a_test():
    rows = re.findall(r"^\| ([FA]\d+) \|.*\|(.*)\|$", (ROOT / "docs" / "reliability.md").read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == [f"F{n}" for n in range(1, 17)] + [f"A{n}" for n in range(1, 17)]
    assert all("`test_" in tests for _, tests in rows)


def test_the_metrics_page_is_up_to_date():
    """That it lists exactly what a run logs is tested on a real run, in tests/cli/test_train.py."""
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == metrics_page.as_markdown()


def test_the_configuration_page_is_up_to_date():
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == options_page.as_markdown()


def test_the_page_of_methods_is_up_to_date():
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == methods_page.as_markdown()
