"""Scores as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from aepo_rllib.eval.passk import FEW_PROBLEMS, FEW_PROBLEMS_NOTE
from aepo_rllib.support.terminal import visible

RATES = {"no_answer": "no answer", "truncated": "cut off", "timed_out": "timed out", "grader_crashed": "crashed"}


def suite_table(suite: str, scores: Mapping[str, Any]) -> Group:
    """One suite's scores in percent with 95 % intervals: a row per k, a column for all problems and per family."""
    columns = {"all": scores, **scores["families"]} if len(scores["families"]) > 1 else {"all": scores}
    table = plain_table()
    table.add_column("\nproblems", no_wrap=True)
    for name, part in columns.items():
        table.add_column(f"{visible(name)}\n{part['problems']}", justify="right")
    _add_points(table, list(columns.values()))
    n = scores["n"]
    table.add_row(f"avg@{n}", *(_percent(part["avg@n"]) for part in columns.values()))
    largest = list(scores["maj"])[-1]
    table.add_row(f"maj@{largest}", *(_percent(part["maj"][largest]) for part in columns.values()), end_section=True)
    for rate, label in RATES.items():
        shown = [part[rate] for part in columns.values()]
        if any(shown) or rate == "no_answer":
            table.add_row(label, *("" if value is None else f"{100 * value:.1f}" for value in shown))
    few = any(part["problems"] < FEW_PROBLEMS for part in columns.values())
    return titled(f"{suite}: pass@k in % [95 % interval over problems]", table, _caption(scores, few))


def group_table(group: str, scores: Mapping[str, Any], suites: Mapping[str, Any]) -> Group:
    """A group's macro average beside its suites."""
    columns = {f"{visible(group)}\nmacro": scores} | {
        f"{visible(name.removeprefix('aepo_'))}\n{suites[name]['problems']}": suites[name] for name in scores["suites"]
    }
    table = plain_table()
    table.add_column("\nproblems", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    for k in scores["k"]:
        table.add_row(f"pass@{k}", *(_percent(part["k"].get(k, {}).get("mean")) for part in columns.values()))
    return titled(f"{group}: pass@k in %, macro average over suites", table, "every suite counts the same")


def plain_table() -> Table:
    """A table without a frame."""
    return Table(box=SIMPLE_HEAD, padding=0)


def titled(title: str, table: Table, notes: str) -> Group:
    """A table between two lines that may be wider than it."""
    return Group(Text(visible(title), style="italic"), table, Text(visible(notes), style="dim italic"))


def _add_points(table: Table, parts: list[Mapping[str, Any]]) -> None:
    ks = list(parts[0]["k"])
    for k in ks:
        table.add_row(f"pass@{k}", *(_cell(part["k"][k]) for part in parts), end_section=k == ks[-1])


def _cell(point: Mapping[str, Any]) -> str:
    interval = "" if point["ci95"] is None else " [{:.0f}-{:.0f}]".format(*(100 * end for end in point["ci95"]))
    # Five columns then fit into 80 characters.
    return _percent(point["mean"]) + interval.replace(" [100-100]", "")


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f}".replace("100.0", "100")


def _caption(scores: Mapping[str, Any], few: bool) -> str:
    n, largest = scores["n"], max(map(int, scores["k"]))
    notes = [f"n = {n} samples per problem at temperature {scores.get('temperature')}"]
    if largest > max(n // 2, 1):
        notes.append(f"pass@k above k = {n // 2} is noisy, n = {2 * largest} would steady it")
    if scores["missing"]:
        notes.append(f"{scores['missing']} samples were never drawn: undefined where a problem has fewer than k")
    if few:
        notes.append(FEW_PROBLEMS_NOTE)
    return "; ".join(notes)
