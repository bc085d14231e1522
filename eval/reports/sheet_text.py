"""A `Sheet` as text: for a terminal, as Markdown, as CSV with a line for every number, or as LaTeX for booktabs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from aepo_rllib.eval.reports.sheet import Row, Score, Sheet
from aepo_rllib.support.terminal import visible

CSV_HEAD = ("suite", "part", "score", "of", "minus", "value", "low", "high", "unit", "differs")
_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
)


def terminal(sheet: Sheet, width: int) -> Group:
    """A table that fits a terminal: with short names and a legend, or in several pieces, where it must.

    Args:
        sheet: What to show.
        width: Columns of the terminal.
    """
    names, legend = [visible(name) for name in sheet.names], ""
    if _too_wide(sheet, names, width):
        letters = [ascii_uppercase[place % 26] + "'" * (place // 26) for place in range(len(names))]
        legend = "\n".join(f"{letter} = {name}" for letter, name in zip(letters, names, strict=True))
        names = letters
    parts: list[RenderableType] = [Text(visible(sheet.title), style="italic")]
    parts += [Text(legend)] if legend else []
    parts += [_table(piece, names) for piece in _pieces(sheet, names, width)]
    return Group(*parts, *(Text(visible(note), style="dim italic") for note in sheet.notes))


def markdown(sheet: Sheet) -> str:
    """A table of GitHub's Markdown below its title in bold, and its notes below as a list."""
    lines = [f"**{_md(sheet.title)}**", "", _md_line([sheet.corner, *_heads(sheet, _md)])]
    lines.append(_md_line(["---"] + ["---:"] * len(sheet.columns)))
    lines += [_md_line([_md(row.label), *(_md_score(score, row) for score in row.scores)]) for row in sheet.rows]
    return "\n".join([*lines, "", *(f"- {_md(note)}" for note in sheet.notes), ""])


def latex(sheet: Sheet) -> str:
    """A `tabular` with the rules of booktabs; title and notes are comments."""
    lines = [f"% {visible(sheet.title)}", rf"\begin{{tabular}}{{l{'r' * len(sheet.columns)}}}", r"\toprule"]
    lines += [" & ".join([sheet.corner, *_heads(sheet, _tex, "$-$")]) + r" \\", r"\midrule"]
    for place, row in enumerate(sheet.rows):
        lines.append(" & ".join([_tex(row.label), *(_tex_score(score, row) for score in row.scores)]) + r" \\")
        lines += [r"\midrule"] if sheet.ends_section(place) else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *(f"% {visible(note)}" for note in sheet.notes), ""])


def csv_text(sheets: Sequence[Sheet]) -> str:
    """A line for every number of all tables, below one head: what pandas and spreadsheets read."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for sheet in sheets:
        writer.writerows(_csv_rows(sheet))
    return text.getvalue()


def write_sheets(sheets: Sequence[Sheet], form: str, console: Console) -> None:
    """Print tables in one of `FORMATS`."""
    FORMATS[form](sheets, console)


def _shown(sheets: Sequence[Sheet], console: Console) -> None:
    for sheet in sheets:
        console.print(terminal(sheet, console.width))


def _written(text: Callable[[Sheet], str]) -> Callable[[Sequence[Sheet], Console], None]:
    return lambda sheets, console: _out("\n".join(map(text, sheets)), console)


def _out(text: str, console: Console) -> None:
    """As it is: no wrapping at the width of a terminal that may not be there."""
    console.file.write(text)


FORMATS: Mapping[str, Callable[[Sequence[Sheet], Console], None]] = {
    "table": _shown,
    "md": _written(markdown),
    "csv": lambda sheets, console: _out(csv_text(sheets), console),
    "latex": _written(latex),
}
"""What a command can print, by its name."""


def _table(sheet: Sheet, names: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0)
    under = any(column.under for column in sheet.columns)
    table.add_column(f"\n{sheet.corner}" if under else sheet.corner, no_wrap=True)
    for column in sheet.columns:
        below = f"\n{column.under}" if under else ""
        table.add_column(sheet.head(column, names) + below, justify="right", overflow="fold")
    for place, row in enumerate(sheet.rows):
        cells = [_short(score, row) for score in row.scores]
        table.add_row(row.label, *cells, end_section=sheet.ends_section(place))
    return table


def _too_wide(sheet: Sheet, names: Sequence[str], width: int) -> bool:
    """Whether names have to be short: heads of differences hold two, and one of a third of the width hides the rest."""
    heads = [sheet.head(column, names) for column in sheet.columns]
    compares = any(column.minus is not None for column in sheet.columns)
    if max(map(len, heads), default=0) > width // 3:
        return True
    return compares and sum(_widths(sheet, names)) > width


def _widths(sheet: Sheet, names: Sequence[str]) -> list[int]:
    """Of the labels, then of every column, with the gap before it and the margin of the table."""
    labels = [len(row.label) for row in sheet.rows]
    widths = [max([len(sheet.corner), *labels]) + 2]
    for place, column in enumerate(sheet.columns):
        cells = [len(_short(row.scores[place], row)) for row in sheet.rows]
        widths.append(max([len(sheet.head(column, names)), len(column.under), *cells]) + 1)
    return widths


def _pieces(sheet: Sheet, names: Sequence[str], width: int) -> Iterator[Sheet]:
    """The sheet, cut between columns into as few pieces as fit."""
    labels, *widths = _widths(sheet, names)
    start, used = 0, labels
    for place, wide in enumerate([*widths, math.inf]):
        used += int(min(wide, 10**6))
        if used > width and place > start:
            yield _columns(sheet, start, place)
            start, used = place, labels + int(min(wide, 10**6))


def _columns(sheet: Sheet, start: int, end: int) -> Sheet:
    rows = [row._replace(scores=row.scores[start:end]) for row in sheet.rows]
    return replace(sheet, columns=sheet.columns[start:end], rows=rows)


def _heads(sheet: Sheet, written: Callable[[str], str], minus: str = "-") -> list[str]:
    names = list(map(written, sheet.names))
    under = [f" ({column.under})" if column.under else "" for column in sheet.columns]
    return [sheet.head(column, names, minus) + more for column, more in zip(sheet.columns, under, strict=True)]


def _number(value: float, row: Row, signed: bool) -> str:
    return f"{round(value, row.digits) + 0.0:{'+' if signed else ''}.{row.digits}f}"  # no negative zero


def _short(score: Score, row: Row) -> str:
    """A cell of a terminal; five of shares with their intervals fit into 80 characters."""
    if not score.known or score.value is None:
        return "undefined" if score.known else ""
    text = _number(score.value, row, score.signed)
    share = row.unit == "%" and not score.signed
    text = text.replace("100.0", "100") if share else text
    if score.brief or math.isnan(score.low):
        return text
    if share:
        return text + f" [{score.low:.0f}-{score.high:.0f}]".replace(" [100-100]", "")
    low, high = (_number(end, row, score.signed) for end in (score.low, score.high))
    return f"{text} [{low}{' ' if score.signed else '-'}{high}]{_star(score)}"


def _star(score: Score) -> str:
    return ("*" if score.differs else " ") if score.signed else ""


def _md_score(score: Score, row: Row) -> str:
    if not score.known or score.value is None:
        return "undefined" if score.known else ""
    text = _number(score.value, row, score.signed)
    if not math.isnan(score.low):
        text += f" [{', '.join(_number(end, row, score.signed) for end in score[1:3])}]"
    return text + (r"\*" if score.differs else "")


def _md(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#" else character for character in visible(text))


def _md_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tex(text: str) -> str:
    return visible(text).translate(_LATEX)


def _tex_score(score: Score, row: Row) -> str:
    if not score.known or score.value is None:
        return "--" if score.known else ""
    text = f"${_number(score.value, row, score.signed)}{'^{*}' if score.differs else ''}$"
    if not math.isnan(score.low):
        text += rf" {{\scriptsize $[{', '.join(_number(end, row, score.signed) for end in score[1:3])}]$}}"
    return text


def _csv_rows(sheet: Sheet) -> Iterator[list[str]]:
    for row in sheet.rows:
        for column, score in zip(sheet.columns, row.scores, strict=True):
            if not score.known:
                continue
            minus = "" if column.minus is None else visible(sheet.names[column.minus])
            numbers = ["" if x is None or math.isnan(x) else f"{x + 0.0:.6g}" for x in score[:3]]
            differs = str(score.differs).lower() if score.signed else ""
            about = [visible(sheet.suite), visible(sheet.part), row.label, visible(sheet.names[column.name]), minus]
            yield [*about, *numbers, row.unit, differs]
