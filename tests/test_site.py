"""The site is made of the documents, without a warning, and needs no network to be read."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.documents import ROOT

pytestmark = pytest.mark.process
LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
"""Elements that make a browser fetch something."""


class Loaded(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADS.get(tag, ""))
        if address is not None:
            self.addresses.append(address)


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """A page that is in no contents, a link or an anchor that leads nowhere, and a missing picture are warnings."""
    pytest.importorskip("sphinx", reason="pip install -e '.[docs]'")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", "docs", ".", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in loaded.addresses if re.match(r"(https?:)?//", address)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import\s+['\"]?|url\(['\"]?)(https?:)?//", style.read_text(encoding="utf-8")), style
