"""What pyproject.toml cannot say: the long description is README.md with links that work on another page."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

from setuptools import setup

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")


def absolute_links(text: str, source: str | None, tag: str) -> str:
    """A page of this repository for readers elsewhere.

    Args:
        text: The page, in Markdown.
        source: Address of the repository; None where it has none, and then the words of a link stay, and no pictures.
        tag: What the links are to show of it.
    """

    def absolute(link: re.Match[str]) -> str:
        target, is_image = link["target"], bool(link["image"])
        if re.match(r"[a-z]+:|#", target):
            return link.group()
        if source is None:
            return "" if is_image else link["text"]
        view = "raw" if is_image else "blob"
        return f"{link['image']}[{link['text']}]({source.rstrip('/')}/{view}/{tag}/{target})"

    return LINK.sub(absolute, text)


def long_description() -> str:
    """README.md with links to the version that is built, in the repository that pyproject.toml names as Source."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    version = runpy.run_path(str(ROOT / "aepo_rllib" / "_version.py"))["__version__"]
    return absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), urls.get("Source"), f"v{version}")


if __name__ == "__main__":
    setup(long_description=long_description(), long_description_content_type="text/markdown")
