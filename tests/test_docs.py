"""What the documents say of the code is so."""

import ast
import re

import pytest
import yaml

from aepo_rllib import api_page, cli_page, methods_page, metrics_page, options_page, templates_page
from tests.support.documents import PAGES, ROOT, anchors, blocks, links
from tests.support.sources import MODULES


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


def test_the_page_of_templates_is_up_to_date():
    assert (ROOT / "docs" / "templates.md").read_text(encoding="utf-8") == templates_page.as_markdown()


def test_the_page_of_commands_is_up_to_date():
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == cli_page.as_markdown()


def test_the_page_of_the_python_interface_is_up_to_date():
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == api_page.as_markdown()


def imports(text):
    """Module and name of everything of ours that some lines of Python import."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aepo_rllib"):
            yield from ((node.module, alias.name) for alias in node.names)


def test_what_documents_and_examples_import_is_on_the_page_of_the_python_interface():
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "examples").glob("*.py")]
    texts += [
        block.text for page in PAGES for block in blocks(page) if block.language == "python" and page.name != "api.md"
    ]
    used = {name for text in texts for name in imports(text)}
    headings = set(re.findall(r"^### (\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert len(used) > 20
    assert not {name for name in used if name[1] not in headings}


def test_every_page_is_in_the_contents():
    named = [page for pages in yaml.safe_load((ROOT / "docs" / "nav.yml").read_text()).values() for page in pages]
    assert len(named) == len(set(named))
    there = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert there - {"index.md"} == {page for page in named if not page.startswith("..")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    lost = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(f"{path}#{anchor}")
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_repository_that_a_page_names_is_there(page):
    named = re.findall(
        r"(?<![\w/.])(?:benchmarks|examples|tests|docs|recipes)/[\w/.-]+\.(?:py|yaml|jsonl?|txt|png)\b",
        page.read_text(),
    )
    # Written by the command that stands beside them.
    assert not [name for name in named if not (ROOT / name).is_file() and not name.startswith("docs/mine")]


def said(file):
    """The texts in a Python file, with a gap for every value that is put into them."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_message_that_troubleshooting_quotes_is_one_that_the_package_says():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    texts = "\n".join(text for file in MODULES.values() for text in said(file))
    assert len(quoted) > 40
    lost = []
    for message in quoted:
        parts = [part.strip() for part in message.replace("\\|", "|").split("...")]
        if not all(part in texts for part in parts):
            lost.append(message)
    assert not lost
