"""How Sphinx makes a site of the pages in docs/: `make site`.

The source folder is the repository, so that links to examples and benchmarks are links of the site, too: pages stay
pages, and other files are copied into it. MyST reads Markdown as GitHub does.
"""

from pathlib import Path, PurePosixPath
from posixpath import normpath

import yaml
from sphinx.application import Sphinx

DOCS = Path(__file__).parent
NAVIGATION: dict[str, list[str]] = yaml.safe_load((DOCS / "nav.yml").read_text(encoding="utf-8"))
PAGES = [normpath(f"docs/{page}") for pages in NAVIGATION.values() for page in pages]

project = "aepo-rllib"
project_copyright = "the authors of aepo-rllib"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/**.md", *(page for page in PAGES if not page.startswith("docs/"))]
exclude_patterns = [".*", "build", "runs", "dist"]
highlight_language = "text"
myst_heading_anchors = 6
# What GitHub would show as it stands.
myst_disable_syntax = ["colon_fence", "myst_block_break", "myst_line_comment", "myst_role", "myst_target"]

html_theme = "furo"
html_title = project
html_static_path, html_css_files = ["static"], ["pages.css"]
html_extra_path = ["site"]  # index.html, which leads to docs/index.html
html_show_sphinx = False
html_copy_source = False
templates_path: list[str] = []


def with_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page the tables of contents that the sidebar is made of."""
    if name == root_doc:
        for caption, pages in NAVIGATION.items():
            names = "\n".join("/" + str(PurePosixPath(normpath(f"docs/{page}")).with_suffix("")) for page in pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", with_contents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
