"""The scores of an evaluation as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aepo_rllib.eval.passk import FEW_PROBLEMS, FEW_PROBLEMS_NOTE
from aepo_rllib.eval.reports.sheet import EMPTY, Column, Row, Score, Sheet, percent

RATES = {"no_answer": "no answer", "truncated": "cut off", "timed_out": "timed out", "grader_crashed": "crashed"}
PARTS = {"family": "families", "level": "levels"}
"""Where the scores of parts stand in passk.json, by what the parts are."""


def suite_sheet(suite: str, scores: Mapping[str, Any], by: str = "family") -> Sheet:
    """One suite's scores in percent with 95 % intervals: a row per k, a column for all problems and for every part.

    Args:
        suite: Its name.
        scores: Its scores in passk.json.
        by: "family" or "level": what the parts are.
    """
    found = scores.get(PARTS[by], {})
    parts = {"all": scores, **found} if len(found) > 1 else {"all": scores}
    rows = [Row(f"pass@{k}", [percent(part["k"][k]) for part in parts.values()]) for k in scores["k"]]
    rows.append(Row(f"avg@{scores['n']}", [_share(part["avg@n"]) for part in parts.values()], section=1))
    rows += [
        Row(f"maj@{k}", [_share(part["maj"][k]) for part in parts.values()], section=1)
        for k in shown_votes(scores["maj"])
    ]
    for rate, label in RATES.items():
        shares = [part[rate] for part in parts.values()]
        if any(shares) or rate == "no_answer":
            rows.append(Row(label, [EMPTY if share is None else _share(share) for share in shares], section=2))
    return Sheet(
        suite=suite,
        part="",
        title=f"{suite}: pass@k in % [95 % interval over problems and samples]",
        names=[name if name == "all" or by == "family" else f"{by} {name}" for name in parts],
        columns=[Column(place, under=str(part["problems"])) for place, part in enumerate(parts.values())],
        rows=rows,
        notes=_notes(scores, list(parts.values())) + ([] if found else [f"no problem names its {by}"]),
        corner="problems",
    )


def group_sheet(group: str, scores: Mapping[str, Any], suites: Mapping[str, Any]) -> Sheet:
    """A group's macro average beside its suites."""
    parts = {group: scores} | {name.removeprefix("aepo_"): suites[name] for name in scores["suites"]}
    return Sheet(
        suite=group,
        part="",
        title=f"{group}: pass@k in %, macro average over suites",
        names=list(parts),
        columns=[
            Column(place, under="macro" if place == 0 else str(part["problems"]))
            for place, part in enumerate(parts.values())
        ],
        rows=[
            Row(f"pass@{k}", [percent(part["k"].get(k), brief=True) for part in parts.values()]) for k in scores["k"]
        ],
        notes=["every suite counts the same"],
        corner="problems",
    )


def shown_votes(maj: Mapping[str, Any]) -> list[str]:
    """The k of maj@k that say something: a majority of two votes is no better than one."""
    return [k for k in maj if int(k) > 2] or list(maj)[-1:]


def _share(value: float | None) -> Score:
    return Score(None if value is None else 100 * value)


def _notes(scores: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> list[str]:
    n, largest = scores["n"], max(map(int, scores["k"]))
    notes = [f"n = {n} samples per problem at temperature {scores.get('temperature')}"]
    if largest > max(n // 2, 1):
        notes.append(
            f"above k = {n // 2} pass@k is noisier than it need be: n = {2 * largest} would narrow its intervals"
        )
    if any(_alike(part) for part in parts):
        notes.append("where all problems score alike, the interval is Wilson's for none of so many that differs")
    if scores["missing"]:
        notes.append(f"{scores['missing']} samples were never drawn: undefined where a problem has fewer than k")
    if any(part["problems"] < FEW_PROBLEMS for part in parts):
        notes.append(FEW_PROBLEMS_NOTE)
    return notes


def _alike(part: Mapping[str, Any]) -> bool:
    """Whether at some k all problems have one score, so that the spread between them tells nothing."""
    return any(point["se"] == 0 for point in part["k"].values())
