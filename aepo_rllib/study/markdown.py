"""A study's tables in Markdown, and the page that they are written into."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from aepo_rllib.eval.reports.crossovers import Crossover
from aepo_rllib.study.intervals import Interval
from aepo_rllib.study.sentences import kept
from aepo_rllib.study.study import BASE_ARM
from aepo_rllib.study.summary import Summary, mean
from aepo_rllib.study.views import MOST, REFERENCE, View
from aepo_rllib.support.locks import write_atomically

NONE = "-"
SHOWN_KS = 6
Values = Sequence[float] | np.ndarray
Column = Callable[[Summary, str], str]


def court(summary: Summary, view: View) -> str:
    """What counts of everything, a row for every arm."""
    study, largest = summary.study, max(summary.ks, default=0)
    columns: dict[str, Column] = {
        "target": lambda s, arm: _number(s.values(arm, "target"), "{:.3f}"),
        "entropy": lambda s, arm: _number(s.values(arm, "entropy"), "{:.3f}"),
        "error": lambda s, arm: _percent(s.values(arm, "error")),
        "settles": _settles,
        "overshoot": _overshoot,
        "stops": _duty,
        "reward": lambda s, arm: _number(s.values(arm, "reward"), "{:.3f}"),
        "reward minus reference": lambda s, arm: _interval(s.minus_reference(arm, "reward"), "{:+.3f}"),
        "pass@1": lambda s, arm: _at(s.pass_at_k(arm), s, 1, "{:.3f}") if arm in s.evaluated else NONE,
        "pass@most": lambda s, arm: _at(s.pass_at_k(arm), s, largest, "{:.3f}") if arm in s.evaluated else NONE,
        "pass@most minus reference": lambda s, arm: _at(s.pass_at_k_minus(arm, study.reference), s, largest, "{:+.3f}"),
        **{
            name: lambda s, arm, name=name: _number(s.values(arm, name), "{:.3g}")  # type: ignore[misc]
            for name in [*(study.metrics or {}), *(study.scores or {})]
        },
        "steps": lambda s, arm: _number(s.values(arm, "steps"), "{:.0f}"),
        "minutes": lambda s, arm: _number(s.values(arm, "seconds") / 60, "{:.1f}"),
    }
    spelt = {"overshoot": "overshoot, % of change / target", "stops": "at the stops, low / high"}

    def title(name: str) -> str:
        return spelt.get(name, name).replace(f"@{MOST}", f"@{largest}").replace(REFERENCE, str(study.reference))

    arms = [arm for arm in view.arms if arm in {*summary.arms, *summary.evaluated}]
    names = view.columns or columns
    return _table("arm", arms, {title(name): [columns[name](summary, arm) for arm in arms] for name in names})


def control(summary: Summary, view: View) -> str:
    """How the entropy was held: of every seed, in their order."""
    arms = [arm for arm in view.arms if not all(map(math.isnan, summary.values(arm, "target")))]
    columns: dict[str, Column] = {
        "target": lambda s, arm: _each(s.values(arm, "target"), "{:.3f}"),
        "entropy": lambda s, arm: _each(s.values(arm, "entropy"), "{:.3f}"),
        "mean error": lambda s, arm: _each(100 * s.values(arm, "error"), "{:.1f} %"),
        "largest error": lambda s, arm: _each(100 * s.values(arm, "largest"), "{:.1f} %"),
        "mean error of what its dial reads": lambda s, arm: _each(100 * s.values(arm, "read_error"), "{:.1f} %"),
        "settles at step": lambda s, arm: _each(s.values(arm, "settles"), "{:.0f}", "never"),
        "overshoot, % of change": lambda s, arm: _each(100 * s.values(arm, "overshoot_change"), "{:.1f} %"),
        "overshoot, % of target": lambda s, arm: _each(100 * s.values(arm, "overshoot_target"), "{:.1f} %"),
        "at the low stop": lambda s, arm: _each(100 * s.values(arm, "at_low"), "{:.0f} %"),
        "at the high stop": lambda s, arm: _each(100 * s.values(arm, "at_high"), "{:.0f} %"),
    }
    return _table("arm", arms, {name: [column(summary, arm) for arm in arms] for name, column in columns.items()})


def suites(summary: Summary, view: View) -> str:
    """pass@1 on every suite, and the mean of suites, with intervals over seeds and problems."""
    arms = [arm for arm in view.arms if arm in summary.evaluated]
    names = list(dict.fromkeys(summary.tables.problems.suite))
    parts = {name: summary.within([name]) for name in names}
    columns = {
        name: [_at(part.pass_at_k(arm), part, 1, "{:.3f}", ends=True) for arm in arms] for name, part in parts.items()
    }
    if len(names) > 1:
        columns["mean"] = [_at(summary.mean_over_suites(arm), summary, 1, "{:.3f}", ends=True) for arm in arms]
    return _table("arm", arms, columns)


def passk(summary: Summary, view: View) -> str:
    """pass@k with intervals over seeds and problems; below, what it is minus others'."""
    arms = [arm for arm in view.arms if arm in summary.evaluated]
    found = {arm: summary.pass_at_k(arm) for arm in arms}
    ks = shown(summary.ks)
    table = _table(
        "arm", arms, {f"pass@{k}": [_at(found[arm], summary, k, "{:.3f}", ends=True) for arm in arms] for k in ks}
    )
    found_below = {other: _differences(summary, arms, other) for other in view.minus}
    below = [f"Minus {other}, paired:\n\n{differences}" for other, differences in found_below.items() if differences]
    return "\n\n".join([table, *below])


def difference(summary: Summary, view: View) -> str:
    """pass@k minus the reference's, or others', paired by seed and problem."""
    others: Sequence[str | None] = view.minus or [summary.study.reference]
    return "\n\n".join(_differences(summary, view.arms, other) for other in others)


TABLE_OF: dict[str, Callable[[Summary, View], str]] = {
    "court": court,
    "control": control,
    "suites": suites,
    "passk": passk,
    "difference": difference,
    "kept": kept,
}
"""What writes each of the tables that a study may ask for."""


def shown(ks: Sequence[int]) -> list[int]:
    """At most `SHOWN_KS` values of k, both ends among them."""
    if len(ks) <= SHOWN_KS:
        return list(ks)
    places = {round(i * (len(ks) - 1) / (SHOWN_KS - 1)) for i in range(SHOWN_KS)}
    return [ks[place] for place in sorted(places)]


def write_sections(page: Path, sections: dict[str, str], title: str) -> None:
    """Put every text between the page's `<!-- name -->` and `<!-- /name -->`; what stands outside is somebody's own.

    A page that is not there is made. One that lacks a section gets it at its end.
    """
    content = page.read_text(encoding="utf-8") if page.is_file() else f"# {title}\n"
    for name, text in sections.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        section = f"{start}\n{text.strip()}\n{end}"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if pattern.search(content):
            content = pattern.sub(lambda _, section=section: section, content)  # type: ignore[misc]
        else:
            content = f"{content.rstrip()}\n\n{section}\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, content)


# --- Cells ---


def _differences(summary: Summary, rows: Sequence[str], other: str | None) -> str:
    """A row for every arm that can be compared, with the k where the curves cross."""
    arms = [arm for arm in rows if summary.pass_at_k_minus(arm, other) is not None]
    found = {arm: summary.pass_at_k_minus(arm, other) for arm in arms}
    columns = {f"pass@{k}": [_at(found[arm], summary, k, "{:+.3f}") for arm in arms] for k in shown(summary.ks)}
    columns["changes sign at k"] = [_crossing(summary.crossing(arm, other)) for arm in arms]
    return _table("arm", arms, columns)


def _crossing(found: Crossover | None) -> str:
    if found is None:
        return NONE
    noise = "" if found.told else ", may be noise"
    return f"{found.k:.0f} [{found.low:.0f}, {found.high:.0f}], in {100 * found.share:.0f} % of resamples{noise}"


def _table(first: str, rows: Sequence[str], columns: dict[str, list[str]]) -> str:
    """Markdown, without columns that say nothing."""
    columns = {name: cells for name, cells in columns.items() if any(cell != NONE for cell in cells)}
    if not columns:
        return ""
    lines = [f"| {' | '.join([first, *columns])} |", f"| --- |{' ---: |' * len(columns)}"]
    for place, row in enumerate(rows):
        name = f"*{row}*" if row == BASE_ARM else row
        lines.append(f"| {' | '.join([name, *(cells[place] for cells in columns.values())])} |")
    return "\n".join(lines)


def _number(values: Values, form: str) -> str:
    """The mean over seeds."""
    value = mean(values)
    return NONE if math.isnan(value) else form.format(value)


def _percent(values: Values) -> str:
    value = mean(values)
    return NONE if math.isnan(value) else f"{100 * value:.1f} %"


def _each(values: Values, form: str, unknown: str = NONE) -> str:
    """One figure per seed."""
    cells = [unknown if math.isnan(value) else form.format(value) for value in values]
    return NONE if all(cell == NONE for cell in cells) else ", ".join(cells)


def _settles(summary: Summary, arm: str) -> str:
    """The mean step, and in how many of the trials where not in all; never where in none."""
    values, errors = summary.values(arm, "settles"), summary.values(arm, "error")
    if math.isnan(mean(errors)):
        return NONE
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "never"
    return f"{mean(known):.0f}" + ("" if len(known) == len(values) else f" ({len(known)} of {len(values)})")


def _overshoot(summary: Summary, arm: str) -> str:
    change, target = mean(summary.values(arm, "overshoot_change")), mean(summary.values(arm, "overshoot_target"))
    return NONE if math.isnan(change) else f"{100 * change:.1f} / {100 * target:.1f}"


def _duty(summary: Summary, arm: str) -> str:
    low, high = mean(summary.values(arm, "at_low")), mean(summary.values(arm, "at_high"))
    return NONE if math.isnan(low) else f"{100 * low:.0f} / {100 * high:.0f} %"


def _interval(interval: Interval | None, form: str) -> str:
    if interval is None or math.isnan(interval.mean):
        return NONE
    ends = "" if math.isnan(interval.low) else f" [{form.format(interval.low)}, {form.format(interval.high)}]"
    return form.format(interval.mean) + ends


def _at(intervals: Sequence[Interval] | None, summary: Summary, k: int, form: str, *, ends: bool | None = None) -> str:
    """The interval at k; of plain values only the mean unless `ends` are wanted."""
    if intervals is None or k not in summary.ks:
        return NONE
    interval = intervals[summary.ks.index(k)]
    signed = "+" in form
    return _interval(interval, form) if ends or signed else form.format(interval.mean)
