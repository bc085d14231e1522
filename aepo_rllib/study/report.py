"""A study's report: from its tables to figures and Markdown. Nothing is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from aepo_rllib.study.figures import draw
from aepo_rllib.study.markdown import TABLE_OF, write_sections
from aepo_rllib.study.study import Study
from aepo_rllib.study.summary import Summary
from aepo_rllib.study.tables import Tables
from aepo_rllib.study.views import View

PAGE = "report.md"


class Report(NamedTuple):
    """What was written: the page, its figures, and the tables' texts by name."""

    page: Path
    figures: list[Path]
    tables: dict[str, str]


def write_report(study: Study, tables: Tables, page: Path) -> Report:
    """Draw a study's figures into a folder beside a page, and write them and its tables into the page's sections.

    Args:
        study: Says what is wanted.
        tables: What was measured.
        page: Its figures go to a folder of its name, without the ending.

    Raises:
        OSError: one cannot be.
    """
    summary = Summary(study, tables)
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    sections, files, texts = {}, [], {}
    for view in study.figures:
        file = folder / f"{view.name}.png"
        if draw(summary, view, file):
            shown = os.path.relpath(file, page.parent)
            sections[f"figure {view.name}"] = f"![{caption(view)}]({shown})"
            files.append(file)
    for view in study.tables:
        table = TABLE_OF[view.kind.name](summary.seen_by(view), view)
        texts[view.name] = f"*{view.title}*\n\n{table}" if view.title and table else table
    sections |= {f"table {name}": text for name, text in texts.items()}
    write_sections(page, sections, study.title)
    return Report(page, files, texts)


def caption(view: View) -> str:
    """A view's title, or what its kind shows."""
    return view.title or view.kind.words.capitalize()
