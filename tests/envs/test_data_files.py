"""The same problems in every kind of file, as pandas, gzip and Hugging Face datasets write them."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from aepo_rllib.envs.problems import Problem, ProblemError, bounded_files, find_file, load_problems
from aepo_rllib.envs.problems.jsonl import read_json

ROWS = [
    {"problem": "Say 1,000, as it is.", "answer": "1,000", "id": "a"},
    {"problem": 'Two lines\nand "quotes", é and \\frac12', "answer": "\\frac{1}{2}", "id": "b"},
    {"problem": "007?", "answer": "007", "id": "c"},
]


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def packed(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Any]] = {
    "own.jsonl": lambda path, rows: path.write_text(as_lines(rows)),
    "bom.jsonl": lambda path, rows: path.write_text(as_lines(rows), encoding="utf-8-sig"),
    "crlf.jsonl": lambda path, rows: path.write_bytes(as_lines(rows).replace("\n", "\r\n").encode()),
    "own.jsonl.gz": lambda path, rows: packed(path, as_lines(rows)),
    "list.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "wide.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8-sig"),
    "inside.json": lambda path, rows: path.write_text(json.dumps({"version": [1], "data": rows})),
    "lines.json": lambda path, rows: path.write_text(as_lines(rows)),
    "list.json.gz": lambda path, rows: packed(path, json.dumps(rows)),
    "pandas.json": lambda path, rows: pandas.DataFrame(rows).to_json(path, orient="records"),
    "pandas.csv": lambda path, rows: pandas.DataFrame(rows).to_csv(path),
    "bare.csv": lambda path, rows: pandas.DataFrame(rows).to_csv(path, index=False, encoding="utf-8-sig"),
    "crlf.csv": lambda path, rows: pandas.DataFrame(rows).to_csv(path, index=False, lineterminator="\r\n"),
    "pandas.csv.gz": lambda path, rows: pandas.DataFrame(rows).to_csv(path),
    "pandas.parquet": lambda path, rows: pandas.DataFrame(rows).to_parquet(path),
    "datasets.parquet": lambda path, rows: datasets.Dataset.from_list(rows).to_parquet(path),
    "saved": lambda path, rows: datasets.Dataset.from_list(rows).save_to_disk(path),
}


def contents(problems: Any) -> list[tuple[str, str, str]]:
    return [(problem.id, problem.text, problem.answer) for problem in problems]


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    expected = [(row["id"], row["problem"], row["answer"]) for row in ROWS]
    assert contents(load_problems(str(tmp_path / name))) == expected
    monkeypatch.setenv("AEPO_DATA_DIR", str(tmp_path))
    assert contents(load_problems(name.partition(".")[0])) == expected
    assert contents(load_problems(name)) == expected


def test_splits_of_a_saved_dataset_and_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = datasets.DatasetDict(
        train=datasets.Dataset.from_list(ROWS[:1]), validation=datasets.Dataset.from_list(ROWS[1:])
    )
    sets.save_to_disk(tmp_path / "mine")
    path = str(tmp_path / "mine")
    assert [problem.id for problem in load_problems(path)] == ["a"]
    assert [problem.id for problem in load_problems(path, split="validation")] == ["b", "c"]
    with pytest.raises(ProblemError, match=r"mine: no split 'test'; there are train, validation"):
        load_problems(path, split="test")
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or sets["train"])
    assert [problem.id for problem in load_problems("someone/mine:main")] == ["a"]
    assert asked == [(("someone/mine", "main"), {"split": "train", "trust_remote_code": False})]


def test_a_saved_dataset_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    for rows in (ROWS[:1], ROWS[1:]):
        datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "mine")
        os.utime(tmp_path / "mine" / "state.json", ns=(len(rows), 2**61 + len(rows)))
        assert len(load_problems(str(tmp_path / "mine"))) == len(rows)


def test_rows_of_verl_with_numpy_values(tmp_path: Path) -> None:
    """As verl's preprocessing writes them: chats, a nested gold and more about the row."""
    frame = pandas.DataFrame(
        {
            "data_source": ["x/y"] * 5,
            "prompt": [
                np.array([{"role": "system", "content": "Be careful."}, {"role": "user", "content": f"What is {i}+5?"}])
                for i in range(5)
            ],
            "ability": ["math"] * 5,
            "reward_model": [{"style": "rule", "ground_truth": str(i + 5)} for i in range(5)],
            "extra_info": [{"index": np.int64(i), "split": "train", "weights": np.array([0.5])} for i in range(5)],
        }
    )
    frame.to_parquet(tmp_path / "verl.parquet")
    problems = load_problems(str(tmp_path / "verl.parquet"))
    assert [(problem.text, problem.answer) for problem in problems] == [
        (f"What is {i}+5?", str(i + 5)) for i in range(5)
    ]
    assert {problem.turns for problem in problems} == {(("system", "Be careful."),)}
    assert problems[3].extra == {"index": 3, "split": "train", "weights": [0.5]}
    assert json.loads(json.dumps(problems[3].extra)) == problems[3].extra


def gold_in(path: Path) -> str:
    [problem] = load_problems(str(path))
    return problem.answer


NUMBERS = ["0.10", "1e20", "12345678901234567890", "1e-05", "-2.5E3", "100000000000000000000.10", "1.0", "0.1e1", "7"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_their_digits(tmp_path: Path, number: str) -> None:
    digits = f"{Decimal(number):f}"
    (tmp_path / "a.jsonl").write_text(f'{{"problem": "p", "answer": {number}}}')
    (tmp_path / "a.json").write_text(f'[{{"problem": "p", "answer": {number}}}]')
    (tmp_path / "a.csv").write_text(f"problem,answer\np,{number}\n")
    assert {gold_in(tmp_path / f"a.{ending}") for ending in ("jsonl", "json", "csv")} == {digits}
    if "e" not in number.lower():
        parquet.write_table(pyarrow.table({"problem": ["p"], "answer": [Decimal(number)]}), tmp_path / "a.parquet")
        assert gold_in(tmp_path / "a.parquet") == digits


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
@settings(deadline=None, max_examples=50)
def test_any_number_of_json_or_csv_is_read_exactly(tmp_path_factory: Any, number: Decimal) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "a.json").write_text(f'[{{"problem": "p", "answer": {number}}}]')
    (folder / "a.csv").write_text(f"problem,answer\np,{number}\n")
    assert Decimal(gold_in(folder / "a.json")) == Decimal(gold_in(folder / "a.csv")) == number


def test_texts_that_look_like_numbers_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,problem,answer,level\n12e5,p,007,\n1e-7,q,+1,3\n")
    assert contents(load_problems(str(tmp_path / "a.csv"))) == [("12e5", "p", "007"), ("1e-7", "q", "+1")]
    (tmp_path / "a.jsonl").write_text('{"problem": "p", "answer": "1.6e-19"}')
    assert gold_in(tmp_path / "a.jsonl") == "1.6e-19"


@pytest.mark.parametrize(
    ("value", "kind", "digits"),
    [
        (0.1, pyarrow.float32(), "0.1"),
        (0.1, pyarrow.float64(), "0.1"),
        (1e20, pyarrow.float64(), "100000000000000000000"),
        (1e-05, pyarrow.float32(), "0.00001"),
        (142.0, pyarrow.float64(), "142.0"),
        (2**62 + 1, pyarrow.int64(), str(2**62 + 1)),
    ],
)
def test_golds_of_typed_tables_are_the_shortest_digits(
    tmp_path: Path, value: float, kind: pyarrow.DataType, digits: str
) -> None:
    answers = pyarrow.array([{"gold": [value]}], pyarrow.struct([("gold", pyarrow.list_(kind))]))
    parquet.write_table(pyarrow.table({"problem": ["p"], "reward_model": answers}), tmp_path / "a.parquet")
    [problem] = load_problems(str(tmp_path / "a.parquet"), fields={"answer": "reward_model.gold"})
    assert problem.answer == digits
    assert float(problem.answer) == pytest.approx(value, rel=1e-7)


def test_mixed_values_that_datasets_stores_as_json(tmp_path: Path) -> None:
    features = datasets.Features({"problem": datasets.Value("string"), "reward_model": datasets.Json()})
    rows = [
        {"problem": "p", "reward_model": {"ground_truth": 7}},
        {"problem": "q", "reward_model": {"ground_truth": "x"}},
    ]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "mixed")
    assert [problem.answer for problem in load_problems(str(tmp_path / "mixed"))] == ["7", "x"]


def test_pictures_are_not_opened(tmp_path: Path) -> None:
    """A row may name any path or address as its picture."""
    features = datasets.Features({name: datasets.Value("string") for name in ("problem", "answer")})
    features["image"] = datasets.Image()
    picture = tmp_path / "x.png"
    picture.write_bytes(b"no picture")
    row = {"problem": "p", "answer": "1", "image": {"path": str(picture), "bytes": None}}
    datasets.Dataset.from_list([row], features=features).save_to_disk(tmp_path / "pictures")
    picture.unlink()
    assert len(load_problems(str(tmp_path / "pictures"))) == 1


BAD_FILES: list[tuple[str, str | bytes, str]] = [
    ("a.json", '[\n {"problem": "p",\n "answer": NaN}]', "a.json:2: .*NaN is no value of JSON"),
    ("a.json", '[\n {"problem": "p",\n "answer" 7}]', r"a.json:3: not JSON \(Expecting ':' delimiter"),
    ("a.json", '[{"problem": "p", "answer": "1"}\n {}]', "a.json:2: not JSON .a comma or the end"),
    ("a.json", '[{"problem": "p", "answer": "1"},\n]', "a.json:2: not JSON"),
    ("a.json", '[{"problem": "p", "answer": "1"}]\n\nx', "a.json:1: not JSON .more text after the list"),
    ("a.json", '[{"problem": "p", "answer": "1"},\n 7]', "a.json:2: not a JSON object but int"),
    ("a.json", '{"data": [{"problem": "p", "answer": "1"}, {"problem": "q"}]}', r"a.json: data\[1\]: no answer"),
    ("a.json", '{"problem": {"0": "p"}, "answer": {"0": "1"}}', "a.json: problem must be text"),
    ("a.json", "7", "a.json: not a JSON object but int"),
    ("a.json", "[" * 200_000, "a.json:1: .*list|a.json:1: .*nested too deeply"),
    ("a.json", b"[\xff]", "a.json: not UTF-8 .invalid start byte at byte 2 of the file"),
    ("a.jsonl", '{"problem": "p", "answer": "1"} {}', "a.jsonl:1: not JSON .Extra data at column 33"),
    ("a.csv", "problem,answer\np,1\nq,1,2\n", "a.csv:3: 3 cells under 2 columns"),
    ("a.csv", 'problem,answer\n"p\n?",1\nq\n', "a.csv:4: 1 cells under 2 columns"),
    ("a.csv", 'problem,answer\np,1\n"q,1\n', "a.csv:3: not comma separated values .unexpected end of data"),
    ("a.csv", "problem,answer,answer\np,1,2\n", "a.csv:1: the column 'answer' comes twice"),
    ("a.csv", "problem;answer\np;1\n", "a.csv:2: no problem .*columns: problem;answer"),
    ("a.csv", "problem,answer\np,\n", "a.csv:2: no answer"),
    ("a.csv", b"problem,answer\np,1\nq,\xe9\n", "a.csv:3: not UTF-8"),
    ("a.csv", "problem,answer\n" + "\"[{'role': 'user', 'content': 'p'}]\",1\n", "a.csv:2: .*a chat written as text"),
    ("a.parquet", b"PAR1" + bytes(range(256)) + b"PAR1", r"a.parquet\[0\]: cannot be read as Parquet"),
    ("a.parquet", b"", r"a.parquet\[0\]: cannot be read as Parquet"),
    ("a.jsonl.gz", b'{"problem": "p", "answer": "1"}', "a.jsonl.gz cannot be read .Not a gzipped file"),
    ("a.csv.gz", gzip.compress(b"problem,answer\np,1\n" * 100, mtime=0)[:-12], "a.csv.gz cannot be read"),
    ("a.json.gz", gzip.compress(b"[]", mtime=0)[:10] + b"\xff" * 8, "a.json.gz cannot be read"),
    ("a.jsonl.gz", gzip.compress(b"0" * 20_000_000, mtime=0), "a.jsonl.gz:1: longer than 10000000 bytes"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD_FILES)
def test_damaged_files_are_named_with_the_line(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ProblemError, match=reason) as raised:
        load_problems(str(tmp_path / name))
    assert "\n" not in str(raised.value)


def test_files_that_unpack_without_end_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_files, "MAX_UNPACKED_BYTES", 10**6)
    monkeypatch.setattr(bounded_files, "MAX_DOCUMENT_BYTES", 10**6)
    packed(tmp_path / "blank.jsonl.gz", (" " * 99 + "\n") * 20_000)
    packed(tmp_path / "blank.csv.gz", "problem,answer\n" + ("p" * 99 + "\n") * 20_000)
    packed(tmp_path / "blank.json.gz", " " * 2_000_000)
    for ending, reason in (("jsonl", ":10001: more than"), ("csv", "cells under|more than"), ("json", ": larger than")):
        with pytest.raises(ProblemError, match=reason):
            load_problems(str(tmp_path / f"blank.{ending}.gz"))
    monkeypatch.setattr(bounded_files, "MAX_LINES", 1000)
    packed(tmp_path / "empty.jsonl.gz", "\n" * 2000)
    with pytest.raises(ProblemError, match=":1001: more than 1000 lines"):
        load_problems(str(tmp_path / "empty.jsonl.gz"))


@pytest.mark.parametrize("name", ["pandas.parquet", "saved/data-00000-of-00001.arrow", "saved/dataset_info.json"])
def test_any_broken_byte_is_an_error_or_no_matter(tmp_path: Path, name: str) -> None:
    """Whatever is in a file of a table: problems, or one line that says why there are none."""
    source = tmp_path / name.partition("/")[0]
    WRITERS[source.name](source, ROWS)
    whole = (tmp_path / name).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        os.utime(tmp_path / name, ns=(0, 2**61 + place))
        with contextlib.suppress(ProblemError):
            assert all(isinstance(problem, Problem) for problem in load_problems(str(source)))


def test_a_saved_dataset_that_is_incomplete_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "state.json").write_text("{}")
    with pytest.raises(ProblemError, match="mine: cannot be loaded as a saved dataset"):
        load_problems(str(tmp_path / "mine"))


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2), max_size=4))
def test_lists_of_json_are_read_as_json_reads_them(tmp_path_factory: Any, rows: list[dict[str, Any]]) -> None:
    for indent in (None, 1):
        path = tmp_path_factory.mktemp("lists") / "a.json"
        path.write_text(json.dumps(rows, indent=indent))
        read = list(read_json(path))
        assert [row for _, row in read] == rows
        lines = path.read_text().split("\n")
        assert all(lines[int(place.rpartition(":")[2]) - 1].lstrip(" [").startswith("{") for place, _ in read)


def test_endings_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEPO_DATA_DIR", str(tmp_path))
    assert find_file("mine") is None
    for ending in reversed(bounded_files.ENDINGS):
        (tmp_path / f"mine{ending}").write_text("")
        assert find_file("mine") == tmp_path / f"mine{ending}"


def test_a_bad_split_of_the_real_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ProblemError, match="cannot load dataset 'someone/none', split 'train': ") as raised:
        load_problems("someone/none")
    assert "\n" not in str(raised.value)
