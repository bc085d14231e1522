"""What the documents hold: pages, links, blocks of code and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "SECURITY.md", "benchmarks/README.md"))]
)
FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"`[^`]*`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
NEEDS = re.compile(r"# (needs|takes) ")
"""The first line of a block that a test does not run, in words for the reader."""


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: As the fence says; "" where it says nothing.
        text: Its lines.
        line: Number of the first of them.
    """

    language: str
    text: str
    line: int

    @property
    def runs(self) -> bool:
        """Whether it can be run as it stands, on two cores without a network."""
        return not NEEDS.match(self.text)


def blocks(page: Path) -> list[Block]:
    """All of a page."""
    text = page.read_text(encoding="utf-8")
    return [Block(found[2], found[3], text.count("\n", 0, found.start(3)) + 1) for found in FENCE.finditer(text)]


def commands(text: str) -> Iterator[list[str]]:
    """The `aepo` commands among lines of a shell, as words; `...` stands for more, and is left out.

    Raises:
        ValueError: a quote without an end, or a bracket that the shell would read.
    """
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(r"\s*([A-Z_]+=\S+ |srun .*)?aepo ", line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        while words:
            ends = [place for place, word in enumerate(words) if word in ("|", "&&", ";", ">")]
            command, words = words[: min(ends, default=len(words))], words[min(ends, default=len(words)) + 1 :]
            if bad := set("()<") & set(command):
                raise ValueError(f"{line.strip()}: {sorted(bad)} has to be quoted")
            if "aepo" in command:
                yield [word for word in command[command.index("aepo") + 1 :] if word != "..."]


def spoken(text: str) -> Iterator[list[str]]:
    """Commands in the midst of sentences, `aepo eval --repair`, as words; some lack a value."""
    for span in CODE.findall(FENCE.sub("", text)):
        if re.match(r"`aepo [a-z]", span):
            yield " ".join(span.strip("`").replace("\\|", "|").split()).split(" ")[1:]


def anchors(page: Path) -> set[str]:
    """What a page's headings are linked by, as GitHub and the site make it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of every link to something here, either may be empty."""
    text = CODE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    for target in LINK.findall(text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor
