"""A study's report: from its tables to figures and Markdown. Nothing is run."""

from __future__ import annotations

import os
from pathlib import Path

from aepo_rllib.study.figures import draw
from aepo_rllib.study.markdown import TABLE_OF, write_sections
from aepo_rllib.study.study import FIGURES, Study
from aepo_rllib.study.summary import Summary
from aepo_rllib.study.tables import Tables

PAGE = "report.md"


def write_report(study: Study, tables: Tables, page: Path) -> list[Path]:
    """Draw a study's figures into a folder beside a page, and write them and its tables into the page's sections.

    Args:
        study: Says what is wanted.
        tables: What was measured.
        page: Its figures go to a folder of its name, without the ending.

    Returns:
        The files that were written.

    Raises:
        OSError: one cannot be.
    """
    summary = Summary(study, tables)
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    sections, files = {}, []
    for name, arms in (study.figures or {}).items():
        file = folder / f"{name}.png"
        if draw(summary, name, arms, file):
            shown = os.path.relpath(file, page.parent)
            sections[f"figure {name}"] = f"![{FIGURES[name].capitalize()}]({shown})"
            files.append(file)
    for name in study.tables:
        sections[f"table {name}"] = TABLE_OF[name](summary)
    write_sections(page, sections, study.title)
    return [page, *files]
