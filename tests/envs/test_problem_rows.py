"""Rows that cannot be used, or never be answered, are refused when they are read, by place and reason."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.envs.grading import VERIFIERS, Grader, extract_answer
from aepo_rllib.envs.grading.pool import WorkerPool
from aepo_rllib.envs.problems import Problem, ProblemError, find_file, load_problems
from aepo_rllib.envs.problems.columns import check_fields
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS
from aepo_rllib.envs.problems.rows import as_problems

GOOD = '{"problem": "1+1?", "answer": "2"}'
LONE = "\\ud800"

SHIFTED = """
import json, sys
print('{"ready": true}', flush=True)
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"id": request["id"], "equal": request["gold"][:-1] == request["answer"][1:]}), flush=True)
"""


def file_of(folder: Path, *lines: str | bytes) -> str:
    path = folder / "rows.jsonl"
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return str(path)


def row(**values: Any) -> str:
    return json.dumps({"problem": "another", "answer": "2", **values})


def only(rows: list[Mapping[str, Any]]) -> list[Problem]:
    return list(as_problems(((f"set[{n}]", row) for n, row in enumerate(rows)), {}, "set"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(answer="x" * (MAX_ANSWER_CHARS + 1)), "the answer has 1001 characters, more than the 1000 that are read"),
        (row(answer="汉" * 9000), "the answer has 9000 characters"),
        (row(answer=10**2000), "the answer has 2001 characters"),
        (row(answer="so it is none\n####  "), "the answer is empty"),
        (row(answer=r"$\%$."), "the answer is empty"),
        (row(answer="1\0"), r"the answer holds the control character '\x00'"),
        ('{"problem": "p", "answer": "\\frac12"}', r"the answer holds the control character '\x0c' ... backslash"),
        (row(answer="\x1b]0;x\x07"), r"the answer holds the control character '\x1b'"),
        (row(answer=True), "answer must be text that is not empty, got True"),
        (row(answer=[True]), "answer must be text"),
        (row(answer=["1", "2"]), "answer must be text that is not empty, got a list"),
        (row(answer={"value": 1}), "answer must be text that is not empty, got a dict"),
        (row(answer=None), "no answer ... columns: problem, answer ... --fields '{answer: COLUMN}'"),
        (row(answer=r"so it is $\boxed{2$"), r"the answer has a box that does not end ('\\boxed{2$')"),
        (row(answer="for all of the sixty or more words " * 12), "answer is a text of 72 words without a final answer"),
        (row(answer=None, solution="It is two, as one and one make two, " * 2), "solution is a text of 12 words"),
        (row(choices=["1", "2"]), "the problem is in two columns, problem and choices"),
        (row(problem="[{'role': 'user', 'content': '1+1?'}]"), "the problem is a chat written as text"),
        (row(problem=[{"role": "user"}]), "turn 1 of the chat has no text but None"),
        (row(verifier="nope"), "unknown verifier 'nope'"),
        (row(verifier=["math"]), "verifier must be a name, got a list"),
        (row(verifier="os:system"), "the row names a function to run, 'os:system' ... '{verifier: verifier}'"),
        ('{"problem": "p", "answer": NaN}', "NaN is no value of JSON"),
        ('{"problem": "p", "answer": "1", "level": -Infinity}', "-Infinity is no value of JSON"),
        ('{"problem": "p", "answer": 1e999999}', "answer must be text that is not empty, got 1E+999999"),
        ('{"problem": "p", "answer": 1e9999999999999999999}', "the number 1e9999999999999999999 is out of range"),
        ('{"problem": "p", "answer": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ('{"problem": "a", "problem": "b", "answer": "1"}', "the key 'problem' comes twice"),
        ('{"problem": "a", "answer": "1", "info": {"x": 1, "x": 2}}', "the key 'x' comes twice"),
        (f'{{"problem": "{LONE}", "answer": "1"}}', r"the problem holds half a character ('\ud800')"),
        (f'{{"problem": "p", "answer": "{LONE}"}}', r"the answer holds half a character"),
        (f'{{"problem": "p", "answer": "1", "id": "{LONE}"}}', r"the id holds half a character"),
        (f'{{"problem": "p", "answer": "1", "family": "{LONE}"}}', r"the family holds half a character"),
        (f'{{"problem": "p", "{LONE}": "1"}}', r"no answer ... columns: problem, '\ud800'"),
        (row(id=["x", {"y": 1}]), "id must be a text or a number, got a list"),
        (row(id={"y": 1}), "id must be a text or a number, got a dict"),
        (row(id=False), "id must be a text or a number, got False"),
        (row(id="i" * 1001), "the id has 1001 characters, more than 1000"),
        (row(family=["a"]), "family must be a text or a number, got a list"),
        (row(subject="s" * 1001), "the family has 1001 characters"),
        ("[" * 500 + "]" * 500, "not a JSON object but list"),
        ('{"problem": ' + "[" * 500 + "]" * 500 + ', "answer": "1"}', "problem must be text"),
        ('{"problem": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        (b'{"problem": "caf\xe9", "answer": "1"}', "not UTF-8 ... byte 17 of the line"),
        (b'\xef\xbb\xbf{"problem": "p", "answer": "1"}', "not JSON ... column 1"),
        (b'{"problem": "nul \x00", "answer": "1"}', "not JSON ... control character at column 18"),
        (bytes(range(256)), "not "),
        (b'{"problem": "' + b"a" * 10_000_000 + b'", "answer": "1"}', "longer than 10000000 bytes"),
    ],
)
def test_a_bad_row_is_refused_by_file_line_and_reason(tmp_path: Path, line: str | bytes, reason: str) -> None:
    path = file_of(tmp_path, GOOD, "", *(row(problem=f"{n}?") for n in range(300)), line)
    with pytest.raises(ProblemError) as raised:
        load_problems(path)
    message = str(raised.value)
    assert all(part in message for part in reason.split(" ... "))
    assert message.startswith(f"{path}:303: ")
    assert message.isprintable()
    assert len(message) < len(path) + 400


def test_rows_of_a_dataset_pass_the_same_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    for bad, reason in (
        ({"problem": "p", "answer": "x" * 1001}, "the answer has 1001 characters"),
        ({"problem": "p", "answer": "1", "id": [1, 2]}, "id must be"),
        ({"problem": "p", "answer": None}, "no answer"),
        ({"problem": "1+1?", "answer": "3"}, r"the same problem as someone/set\[0\] with another answer, '3' instead"),
    ):
        rows = datasets.Dataset.from_list([{"problem": "1+1?", "answer": "2", "id": None}, bad])
        monkeypatch.setattr(datasets, "load_dataset", lambda *args, rows=rows, **kwargs: rows)
        with pytest.raises(ProblemError, match=rf"someone/set\[1\]: .*{reason}"):
            load_problems("someone/set", split=reason)


def test_a_dataset_that_fails_while_it_is_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise StopAsyncIteration

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ProblemError, match=r"cannot load dataset 'someone/broken', split 'train': StopAsyncIteration"):
        load_problems("someone/broken")


def test_numbers_are_taken_as_they_are_written(tmp_path: Path) -> None:
    numbers = ["4", "4.0", "0.10", "12345678901234567.89", "1e-7", "-2.5E3", "1e22"]
    path = file_of(tmp_path, *(f'{{"problem": "p{n}", "answer": {number}}}' for n, number in enumerate(numbers)))
    answers = [problem.answer for problem in load_problems(path)]
    assert [Decimal(answer) for answer in answers] == [Decimal(number) for number in numbers]
    assert not set("eE") & set("".join(answers))
    assert answers[:4] == numbers[:4]


def test_what_is_odd_but_harmless_stays(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        json.dumps({"problem": "<eos> \x1b[31m \u2028 \0", "answer": "1", "id": "../../x\n\x1b", "family": "=1+1"}),
        json.dumps({"problem": "x", "answer": "\\begin{cases}\r\n1\\\\\t2\\end{cases}", "id": 7}) + "\r",
        "\r",
        json.dumps({"problem": "y", "answer": "汉", "id": 1.5, "subject": None, "level": [[{}]]}),
    )
    problems = load_problems(path)
    assert [problem.id for problem in problems] == ["../../x\n\x1b", "7", "1.5"]
    assert [problem.family for problem in problems] == ["=1+1", "", ""]
    assert problems[0].text == "<eos> \x1b[31m \u2028 \0"


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\\{}$%#.^_ \n\x0c\x00"), max_size=30))
def test_an_accepted_answer_is_graded_and_matched_by_its_own_text(answer: str) -> None:
    """By spelling, so that no worker starts; unless its own braces close the box too early."""
    try:
        [problem] = only([{"problem": "p", "answer": answer}])
    except ProblemError:
        return
    completion = rf"\boxed{{{problem.answer}}}"
    if extract_answer(completion) == problem.answer:
        with Grader(workers=1) as grader:
            assert grader.grade(problem, completion).verdict.value == "correct"
            assert not grader.pool.started


@pytest.mark.process
@pytest.mark.parametrize("character", ["x", "汉", "\U0001f600", "\n1"])
@pytest.mark.parametrize("rule", [name for name, verifier in VERIFIERS.items() if verifier.compares])
def test_the_longest_answers_are_compared(character: str, rule: str) -> None:
    longest = (character * MAX_ANSWER_CHARS)[:MAX_ANSWER_CHARS].strip()
    [problem] = only([{"problem": "p", "answer": longest}])
    pool = WorkerPool(1, 3.0, command=(sys.executable, "-c", SHIFTED))
    assert pool.grade([(problem.answer, longest[-1] + longest[:-1], rule)])[0].value == "correct"
    pool.close()


def test_fields_are_checked() -> None:
    for fields, reason in (
        ({"question": "q"}, "unknown field 'question'; known: problem, answer, id, family"),
        ({1: "q"}, "unknown field 1; known"),
        ({"problem": ""}, "problem must be the name of a column, not ''"),
        ({"answer": None}, "answer must be the name of a column, not None"),
        ({"answer": ["a"]}, "answer must be the name of a column, not a list"),
        ("abc", "fields must map problem, answer, id, family, verifier, extra to columns, not be 'abc'"),
        ([("problem", "q")], "not be a list"),
    ):
        with pytest.raises(ProblemError, match=reason):
            check_fields(fields)  # type: ignore[arg-type]
        with pytest.raises(ProblemError, match=reason):
            load_problems("arithmetic", fields=fields)  # type: ignore[arg-type]


def test_columns_that_were_named_must_be_there(tmp_path: Path) -> None:
    path = file_of(tmp_path, row(nr=1, kind="a"), row(problem="2?", nr=None))
    with pytest.raises(ProblemError, match=r"rows.jsonl:2: no id \(looked for nr; columns: problem, answer, nr\)"):
        load_problems(path, fields={"id": "nr"})
    with pytest.raises(ProblemError, match=r"no row has a family .looked for kinds"):
        load_problems(path, fields={"family": "kinds"})
    assert [problem.family for problem in load_problems(path, fields={"family": "kind"})] == ["a", ""]
    for place in ("²", "1", "-1", "9" * 5000):
        with pytest.raises(ProblemError, match=rf"rows.jsonl:1: no problem .looked for texts.{place}; columns: texts"):
            load_problems(file_of(tmp_path, '{"texts": ["p"], "answer": "1"}'), fields={"problem": f"texts.{place}"})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"source": 5}, "problems must be a file, a name, a dataset id or a mix of them, not 5"),
        ({"source": ""}, "problems must be"),
        ({"split": "train2"}, "unknown split 'train2'; choose one of train, validation, test"),
        ({"split": ["train"]}, "split must be a name such as train, not a list"),
        ({"split": None}, "split must be"),
        ({"seed": "x"}, "seed .problem_seed of an environment. must be a whole number, not 'x'"),
        ({"seed": True}, "seed .*not True"),
        ({"seed": 1.0}, "seed .*not 1.0"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_problems(**{"source": "sum3", **arguments})


def test_only_regular_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a pipe without a writer would wait for ever, and a device might never end."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "device.jsonl").symlink_to("/dev/zero")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    monkeypatch.setenv("AEPO_DATA_DIR", str(tmp_path))
    start = time.monotonic()
    for name, reason in (
        ("pipe", "is a pipe or a device, not a file"),
        ("device", "is a pipe or a device, not a file"),
        ("folder", "is a folder, not a file"),
        ("loop", "cannot be read .*symbolic links"),
    ):
        for source in (str(tmp_path / f"{name}.jsonl"), name):
            with pytest.raises(ProblemError, match=f"{name}.jsonl.* {reason}"):
                load_problems(source)
    assert time.monotonic() - start < 5


def test_names_that_are_no_file_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AEPO_DATA_DIR", raising=False)
    for source in ("x" * 10_000, "\0.jsonl", "x" * 10_000 + ".jsonl", "./no\x1b[2J"):
        with pytest.raises(ProblemError) as raised:
            load_problems(source)
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 400
    other = tmp_path / "rows.tsv"
    other.write_text(GOOD)
    with pytest.raises(ProblemError, match=r"a name that ends in \.jsonl, .*\.parquet"):
        load_problems(str(other))
    with pytest.raises(ProblemError, match=r"a folder that datasets.save_to_disk has not written"):
        load_problems(str(tmp_path))


def test_a_data_folder_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEPO_DATA_DIR", str(tmp_path / "typo"))
    with pytest.raises(ProblemError, match=r"AEPO_DATA_DIR names .*typo, which is no folder"):
        find_file("math500")
    assert find_file(str(tmp_path / "absent.jsonl")) is None
    assert len(load_problems("sum3", split="test"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        path, reason = Path("/proc/self/mem"), "cannot be read"
        (tmp_path / "mem.jsonl").symlink_to(path)
        source = str(tmp_path / "mem.jsonl")
    else:
        source, reason = file_of(tmp_path, GOOD), "cannot be read .Permission denied"
        Path(source).chmod(0)
    with pytest.raises(ProblemError, match=reason):
        load_problems(source)
