"""`aepo problems` and `aepo tasks --check` on files from anybody: nothing raw reaches the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aepo_rllib.cli.problems import problems_command
from aepo_rllib.cli.tasks import tasks_command

ROWS = [
    {
        "id": "i\x1b]0;T\x07\nforged line",
        "family": "f\x1b[5m\u202e",
        "problem": "p\x1b[2J\x9b31m\nq\r",
        "answer": "foo(",
    },
    {"id": "two", "family": "g", "problem": "r", "answer": "{\n\u2028x"},
]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "aime24.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def harmless(result: Result) -> str:
    """What was printed, if it holds nothing that a terminal acts upon, and no line that the rows made up."""
    assert all(char.isprintable() or char == "\n" for char in result.output)
    assert "forged line" not in result.output.splitlines()
    return result.output


def test_problems_shows_rows_as_escapes(hostile: Path) -> None:
    result = CliRunner().invoke(problems_command, [str(hostile), "--workers", "1"])
    shown = harmless(result)
    assert result.exit_code == 1
    assert "p\\x1b[2J\\x9b31m\nq" in shown
    assert "  f\\x1b[5m\\u202e: 1" in shown.splitlines()
    assert "first prompt (i\\x1b]0;T\\x07\\nforged line, answer 'foo('):" in shown.splitlines()
    assert "  two: no_answer: {\\n\\u2028x" in shown.splitlines()


def test_the_check_of_suites_shows_rows_as_escapes(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEPO_DATA_DIR", str(hostile.parent))
    result = CliRunner().invoke(tasks_command, ["--check", "aepo_aime24"])
    assert result.exit_code == 1
    assert "  two: no_answer: {\\n\\u2028x" in harmless(result).splitlines()
    hostile.write_text(json.dumps({"problem": "p", "\x1b[2J": 1}))
    result = CliRunner().invoke(tasks_command, ["--check", "aepo_aime24"])
    assert result.exit_code == 1
    assert "aime24.jsonl:1: no answer" in harmless(result)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--fields", "!!python/object/apply:os.system ['true']"], "--fields:1: broken YAML"),
        (["--fields", "[1"], "broken YAML"),
        (["--fields", "abc"], "--fields: expected a mapping"),
        (["--fields", "{problem: a, problem: b}"], "key 'problem' twice"),
        (["--fields", "{question: q}"], "unknown field 'question'; known: problem, answer, id, family"),
        (["--fields", "{problem: [q]}"], "problem must be the name of a column"),
        (["--fields", "{problem: absent}"], "no problem (looked for absent"),
        (["--template", "nope"], "unknown prompt template 'nope'"),
        (["--workers", "5000"], "workers must be a whole number from 1 to 1024, not 5000"),
    ],
)
def test_bad_options_are_one_line(hostile: Path, arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(problems_command, [str(hostile), *arguments])
    assert result.exit_code == 2
    [line] = harmless(result).splitlines()
    assert line.startswith("Error: ")
    assert reason in line


def test_a_split_that_does_not_exist_is_named() -> None:
    result = CliRunner().invoke(problems_command, ["sum3", "--split", "nope"])
    assert result.exit_code == 2
    assert result.output == "Error: unknown split 'nope'; choose one of train, validation, test\n"


def test_a_data_folder_that_is_missing_is_no_list_of_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEPO_DATA_DIR", "/nowhere\x1b[2J")
    result = CliRunner().invoke(tasks_command, [])
    assert result.exit_code == 2
    assert harmless(result) == "Error: AEPO_DATA_DIR names /nowhere\\x1b[2J, which is no folder\n"
