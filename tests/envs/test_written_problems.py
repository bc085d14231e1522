"""Problems in files keep the rule that judges them, or are refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import Problem, ProblemError, load_problems, write_problems
from aepo_rllib.eval.data import as_doc

COUNTDOWN = {"problem": "Make 24 from 3 8 1.", "answer": "3*8*1"}
CHAIN = {"problem": "Make 24*15 from 3 8 1 and 2 7 6.", "answer": "3*8*1*(2+7+6)"}


def plain(problem: Problem) -> tuple[object, ...]:
    return problem.id, problem.text, problem.answer, problem.verifier, problem.family, json.dumps(dict(problem.extra))


@pytest.mark.parametrize("source", ["arithmetic", "chain"])
def test_problems_come_back_from_a_file_as_they_were(source: str, tmp_path: Path) -> None:
    problems = load_problems(source, split="test")
    write_problems(tmp_path / "mine.jsonl", problems)
    again = load_problems(str(tmp_path / "mine.jsonl"))
    assert list(map(plain, again)) == list(map(plain, problems))
    assert [problem.level for problem in again] == [problem.level for problem in problems]


def test_a_chat_comes_back_as_it_was(tmp_path: Path) -> None:
    problem = Problem("a", "And 1 + 2?", "3", turns=(("system", "Be brief."), ("user", "1 + 1?"), ("assistant", "2")))
    write_problems(tmp_path / "chat.jsonl", [problem])
    assert load_problems(str(tmp_path / "chat.jsonl")) == [problem]


def test_the_copies_that_an_evaluation_keeps_can_be_read_as_problems(tmp_path: Path) -> None:
    problems = load_problems("chain2", split="test")[:5]
    (tmp_path / "kept.jsonl").write_text("".join(json.dumps(as_doc(problem)) + "\n" for problem in problems))
    assert list(map(plain, load_problems(str(tmp_path / "kept.jsonl")))) == list(map(plain, problems))


def test_a_table_may_hold_what_a_verifier_needs_as_a_text(tmp_path: Path) -> None:
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COUNTDOWN, "verifier", "extra"])
        writer.writeheader()
        writer.writerow(COUNTDOWN | {"verifier": "countdown", "extra": '{"numbers": [3, 8, 1], "target": 24}'})
    [problem] = load_problems(str(tmp_path / "mine.csv"))
    with Grader() as grader:
        verdicts = [grader.grade(problem, f"\\boxed{{{answer}}}").verdict.value for answer in ("8*3*1", "4*6")]
    assert verdicts == ["correct", "wrong"]


@pytest.mark.parametrize("row", [COUNTDOWN, CHAIN])
def test_a_countdown_problem_without_a_verifier_is_refused_unless_one_is_named(
    row: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ProblemError, match=r"mine.jsonl:1: a Countdown problem .* without a verifier; .*countdown"):
        load_problems(str(path))
    assert load_problems(str(path), verifier="math")[0].verifier == "math"
    path.write_text(json.dumps(row | {"verifier": "countdown"}) + "\n")
    with pytest.raises(ProblemError, match="the verifier countdown needs numbers and target"):
        load_problems(str(path))


def test_other_problems_that_begin_alike_are_read(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps({"problem": "Make 24 from 3 apples?", "answer": "8"}) + "\n")
    assert load_problems(str(tmp_path / "mine.jsonl"))[0].verifier == "math"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a file whose name ends in \.jsonl"):
        write_problems(tmp_path / "mine.csv", [])
