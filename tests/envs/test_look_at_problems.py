"""`aepo problems` and `aepo tasks --check` on files from anybody: nothing raw reaches the terminal."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aepo_rllib.cli.problems import problems_command
from aepo_rllib.cli.tasks import tasks_command
from aepo_rllib.envs import get_template
from aepo_rllib.envs.problems import load_problems
from aepo_rllib.envs.prompts import BOXED

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


@pytest.mark.process
def test_problems_shows_rows_as_escapes(hostile: Path) -> None:
    result = CliRunner().invoke(problems_command, [str(hostile), "--workers", "1"])
    shown = harmless(result)
    assert result.exit_code == 1
    assert "p\\x1b[2J\\x9b31m\nq" in shown
    assert "  f\\x1b[5m\\u202e: 1" in shown.splitlines()
    assert "prompt (i\\x1b]0;T\\x07\\nforged line, answer 'foo('):" in shown.splitlines()
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
        (["--verifier", "nope"], "unknown verifier 'nope'"),
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


def looked_at(tmp_path: Path, rows: list[dict[str, Any]], *arguments: str) -> list[str]:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(problems_command, [str(path), "--workers", "1", *arguments])
    assert result.exit_code == 0, result.output
    return harmless(result).splitlines()


def test_examples_are_what_the_model_will_see(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be\x1b[2J careful."}, {"role": "user", "content": "1+1?"}]
    rows: list[dict[str, Any]] = [{"prompt": chat, "answer": 2}, *({"prompt": f"{n}?", "answer": n} for n in range(9))]
    lines = looked_at(tmp_path, rows, "--template", "aepo-think", "--examples", "2", "--verifier", "math-numeric")
    assert "judged by math-numeric: 10" in lines
    assert "with turns of a chat before them: 1; they need a template with a chat frame" in lines
    start = lines.index("prompt (own-0, answer '2', in the model's own chat template):")
    assert lines[start + 1 : start + 4] == ["[system]", "Be\\x1b[2J careful.", "[user]"]
    prompt = get_template("aepo-think").render("1+1?").splitlines()
    assert lines[start + 4 : start + 4 + len(prompt)] == prompt
    assert "prompt (own-5, answer '4', in the model's own chat template):" in lines
    assert not any(line.startswith("prompt (") for line in looked_at(tmp_path, rows, "--examples", "0"))
    lines = looked_at(tmp_path, rows[1:], "--template", "qwen25-math-cot")
    start = lines.index("prompt (own-0, answer '0', in ChatML):")
    assert lines[start + 1 : start + 5] == ["[system]", BOXED, "[user]", "0?"]


@pytest.mark.process
def test_golds_that_only_spelling_decides_are_counted_and_named(tmp_path: Path) -> None:
    rows = [{"problem": "p", "answer": "7", "id": "seven"}, {"problem": "q", "answer": "Tuesday", "id": "day"}]
    lines = looked_at(tmp_path, rows)
    assert "1 of 2 known answers can be read only as text: their spelling decides" in lines
    assert "  day: Tuesday" in lines
    assert "  seven: 7" not in lines


def test_conflicting_answers_are_one_line_or_left_out(tmp_path: Path) -> None:
    rows = [{"problem": text, "answer": answer} for text, answer in (("q", 7), ("r", 1), ("q", 8))]
    assert "1 problems" in looked_at(tmp_path, rows, "--drop-conflicts")
    result = CliRunner().invoke(problems_command, [str(tmp_path / "own.jsonl")])
    assert result.exit_code == 2
    [line] = harmless(result).splitlines()
    assert re.search(r"own\.jsonl:3: the same problem as .*own\.jsonl:1 with another answer, '8' instead of '7'", line)


@pytest.mark.process
def test_what_was_read_is_written_and_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "mix.jsonl"
    options = ["countdown3=2,chain1=1", "--split", "test", "--output", str(file), "--workers", "1"]
    result = CliRunner().invoke(problems_command, options)
    assert result.exit_code == 0, result.output
    written, read = load_problems(str(file)), load_problems("countdown3=2,chain1=1", split="test")
    assert [json.dumps(asdict(each)) for each in written] == [json.dumps(asdict(each)) for each in read]
    again = CliRunner().invoke(problems_command, options)
    assert (again.exit_code, "is there already" in again.output) == (2, True)


def test_only_lines_of_json_are_written(tmp_path: Path) -> None:
    result = CliRunner().invoke(problems_command, ["countdown3", "--output", str(tmp_path / "mix.csv")])
    assert (result.exit_code, "ends in .jsonl" in result.output) == (2, True)
