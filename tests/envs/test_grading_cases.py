"""Some two thousand answers, as models write them, that a careful reader judged before the grader did.

    pytest -s tests/envs/test_grading_cases.py

prints what holds of tests/cases/answers.jsonl, kind by kind. No wrong answer may pass; of the right ones 95 % have to.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import Problem

pytestmark = pytest.mark.process

CASES = [json.loads(line) for line in (Path(__file__).parents[1] / "cases/answers.jsonl").read_text().splitlines()]
ARGUABLE = {("Aa", "AA"), ("aB", "Ab")}
"""Case does not count in sequences of letters."""


def test_no_wrong_answer_passes_and_few_right_ones_fail() -> None:
    problems = [Problem(str(place), "", case["gold"], case["verifier"]) for place, case in enumerate(CASES)]
    with Grader(workers=2, deadline_s=10.0) as grader:
        grades = grader.grade_batch(problems, [case["completion"] for case in CASES])
    held: defaultdict[str, list[bool]] = defaultdict(list)
    wrong, missed = [], []
    for case, grade in zip(CASES, grades, strict=True):
        right = case["expected"] == "correct"
        accepted = grade.reward == 1.0
        held[case["kind"]].append(accepted == right)
        if accepted and not right and (case["gold"], grade.answer) not in ARGUABLE:
            wrong.append((case["gold"], grade.answer))
        if right and not accepted:
            missed.append((case["gold"], grade.answer))
    for kind, outcomes in sorted(held.items()):
        print(f"{kind:24} {sum(outcomes):4} of {len(outcomes):4}")
    print(f"{len(CASES)} cases; wrong answers that pass: {len(wrong)}; right ones that do not: {len(missed)}", missed)
    assert wrong == []
    assert len(missed) <= 0.05 * sum(case["expected"] == "correct" for case in CASES)


def test_the_table_of_the_policy_is_true() -> None:
    """Every example of docs/grading.md, on both sides."""
    page = (Path(__file__).parents[2] / "docs/grading.md").read_text()
    section = page.partition("## What counts as equal")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[2:5] for line in section.splitlines() if line.startswith("|")][2:]
    cases = [
        (gold.replace(r"\|", "|"), answer.replace(r"\|", "|"), equal)
        for row in rows
        for gold in re.findall("`([^`]+)`", row[0])
        for equal, column in ((True, row[1]), (False, row[2]))
        for answer in re.findall("`([^`]+)`", column)
    ]
    with Grader(workers=2, deadline_s=10.0) as grader:
        problems = [Problem("p", "", gold) for gold, _, _ in cases]
        grades = grader.grade_batch(problems, [rf"\boxed{{{answer}}}" for _, answer, _ in cases])
    failing = [case for case, grade in zip(cases, grades, strict=True) if (grade.reward == 1.0) != case[2]]
    assert failing == []
    assert len(cases) > 150
