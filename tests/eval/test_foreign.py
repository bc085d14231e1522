"""A folder with an evaluation is something that people send each other: nothing in it is trusted."""

import json
import os
import re
import shutil

import pytest
from click.testing import CliRunner

from aepo_rllib.cli.compare import compare_command
from aepo_rllib.cli.regrade import regrade_command
from aepo_rllib.eval.regrading import regrade
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.eval.spec import EvaluationSpec
from aepo_rllib.eval.suites.loading import load_tasks

SUITE, OTHER = "aepo_arithmetic", "aepo_countdown4"
OWN_TASK = """
task: own
dataset_path: json
test_split: test
output_type: generate_until
doc_to_text: "{{problem}}"
doc_to_target: !function evil.pwn
metric_list: []
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate_model(suites=[SUITE, OTHER], n=2, limit=2, max_new_tokens=16, output=folder)
    return folder


@pytest.fixture
def folder(evaluated, tmp_path):
    return shutil.copytree(evaluated, tmp_path / "sent")


def change(file, *path, to):
    """Set one value deep inside of a JSON file."""
    content = value = json.loads(file.read_text())
    for name in path[:-1]:
        value = value[name]
    value[path[-1]] = to
    file.write_text(json.dumps(content))


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != ".lock"}


def refused(command, *arguments):
    """The one line that a command ends with."""
    result = CliRunner().invoke(command, list(map(str, arguments)))
    assert result.exit_code == 2, result.output
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert "Traceback" not in result.output
    assert len(last) < 1000
    return last


def test_names_of_suites_in_a_folder_run_no_code(folder, tmp_path, monkeypatch):
    """lm-eval takes the path of a YAML file for a task's name, and such a file may name Python to be run."""
    monkeypatch.chdir(tmp_path)
    (folder / "own.yaml").write_text(OWN_TASK)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'MARKER')!r}, 'w').close()\ndef pwn(doc): return ''\n")
    before = contents(folder)
    for name in (str(folder / "own.yaml"), "sent/own.yaml", "../../../etc/passwd", "own"):
        spec = EvaluationSpec.read(folder)
        change(folder / "evaluation.json", "suites", to=[name])
        assert "evaluation.json: suites: unknown suite" in refused(regrade_command, folder)
        (folder / "evaluation.json").write_bytes(before["evaluation.json"])
        # Nor where somebody has got past the reading.
        object.__setattr__(spec, "suites", (name,))
        with pytest.raises(ValueError, match="unknown suite"):
            load_tasks(spec)
    assert not (tmp_path / "MARKER").exists()
    assert contents(folder) == before


HUGE = 10**400
BAD_FIELDS = [
    ("model", 7),
    ("model", "\ud800"),
    ("suites", []),
    ("suites", SUITE),
    ("suites", [[SUITE]]),
    ("suites", ["x" * 10_000_000]),
    ("n", 0),
    ("n", 10**9),
    ("n", HUGE),
    ("n", True),
    ("n", 2.0),
    ("n", "2"),
    ("n", None),
    ("ks", []),
    ("ks", [3]),
    ("ks", [0]),
    ("ks", ["1"]),
    ("ks", {"1": 1}),
    ("temperature", -1),
    ("temperature", HUGE),
    ("temperature", "hot"),
    ("temperature", True),
    ("temperature", 0),
    ("top_p", 0),
    ("top_p", 1.5),
    ("top_p", None),
    ("max_new_tokens", 0),
    ("max_new_tokens", 1e3),
    ("limit", -1),
    ("limit", 0.5),
    ("seed", -1),
    ("seed", 1 << 70),
    ("template", "boxd"),
    ("template", ""),
    ("template", {"name": "boxed"}),
    ("grader", "sympy"),
    ("grader", ["math"]),
    ("identity", {}),
    ("identity", []),
    ("first_prompts", {}),
    ("first_prompts", {SUITE: 1, OTHER: 2}),
    ("problems", {}),
    ("problems", {SUITE: "5f0c"}),
    ("problems", {SUITE: "5f0c", OTHER: "5f0c", "aepo_aime24": "5f0c"}),
    ("own_problems", "mine"),
    ("own_problems", [7]),
    ("own_problems", ["../../mine"]),
    ("own_problems", [".."]),
    ("own_problems", [SUITE]),
    ("own_suites", [""]),
    ("own_suites", ["mine.yaml"]),
    ("own_suites", ["sent/mine"]),
]
BAD_IDENTITIES = [
    ("engine", "os:system"),
    ("engine", None),
    ("dtype", "int3"),
    ("frame", "own"),
    ("system", 1),
    ("stop_ids", []),
    ("stop_ids", [1.5]),
    ("seed", "0"),
    ("model", 1),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_every_setting_is_checked_and_named(field, value, folder):
    file = folder / "evaluation.json"
    change(file, field, to=value)
    with pytest.raises(ValueError, match=rf"^{file}: ({field}[:=]|pass@|temperature 0)") as error:
        EvaluationSpec.read(folder)
    assert len(str(error.value)) < 600
    assert "--overwrite" in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(("field", "value"), BAD_IDENTITIES)
def test_every_part_of_the_models_identity_is_checked_and_named(field, value, folder):
    change(folder / "evaluation.json", "identity", field, to=value)
    with pytest.raises(ValueError, match=rf"evaluation.json: identity: {field}: "):
        EvaluationSpec.read(folder)


def test_missing_and_unknown_settings_are_refused(folder):
    file, plan = folder / "evaluation.json", json.loads((folder / "evaluation.json").read_text())
    for field in plan:
        file.write_text(json.dumps({name: value for name, value in plan.items() if name != field}))
        with pytest.raises(ValueError, match=f"{file}: {field} is missing"):
            EvaluationSpec.read(folder)
    file.write_text(json.dumps(plan | {"\x1b[2J": 1}))
    with pytest.raises(ValueError, match=re.escape(r"unknown field '\x1b[2J'")):
        EvaluationSpec.read(folder)


BROKEN = {
    "empty": b"",
    "a list": b"[1, 2]",
    "a number": b"7",
    "cut": b'{"model": "a", "suites": ["aepo_ar',
    "not a number": b'{"n": NaN}',
    "infinite": b'{"n": -Infinity}',
    "deep": b'{"n": ' + b"[" * 200_000,
    "deep and whole": b"[" * 200_000 + b"]" * 200_000,
    "many digits": b'{"n": ' + b"9" * 5000 + b"}",
    "bytes": b'{"model": "\xff\xfe"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"n": 1}'.encode("utf-16"),
    "zeros": b"\0" * 100,
    "a name twice": b'{"n": 1, "n": 2}',
    "large": b" " * (1 << 24) + b"{}",
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", ["evaluation.json", "passk.json", "problems.jsonl"])
def test_a_broken_file_is_named_in_one_line(name, broken, folder):
    (folder / name).write_bytes(BROKEN[broken] if name != "problems.jsonl" else BROKEN[broken] + b"\n")
    command = (regrade_command, folder) if name == "evaluation.json" else (compare_command, folder.parent, folder)
    shutil.copytree(folder, folder.parent / "eval")
    assert f"{folder if name == 'evaluation.json' else folder.parent / 'eval'}/{name}" in refused(*command)


BAD_SUMMARIES = [
    (("suites",), []),
    (("suites", SUITE), 1),
    (("suites", SUITE, "k"), {"1e9": {}}),
    (("suites", SUITE, "k"), ["1"]),
    (("suites", SUITE, "version"), 1),
    (("suites", SUITE, "temperature"), [[]]),
    (("suites", SUITE, "avg@n"), "x"),
    (("suites", SUITE, "maj"), {"1": 2}),
    (("evaluation", "first_prompts"), ["x"]),
    (("evaluation",), None),
    (("evaluation", "template"), {"a": 1}),
    (("evaluation", "problems"), {}),
]


@pytest.mark.parametrize(("path", "value"), BAD_SUMMARIES)
def test_scores_that_are_none_are_not_compared(path, value, folder, evaluated):
    change(folder / "passk.json", *path, to=value)
    line = refused(compare_command, evaluated, folder)
    assert f"{folder / 'passk.json'}: {path[0]}: " in line
    assert "aepo regrade" in line


def test_counts_that_do_not_belong_to_the_scores_are_not_compared(folder, evaluated):
    file = folder / "problems.jsonl"
    first, *others = file.read_text().splitlines(keepends=True)
    row = json.loads(first)
    older = {name: value for name, value in row.items() if name != "counts"}
    cases = {
        "problems here": others,  # lost: the comparison would be over fewer problems
        "a second time": [first, first, *others],
        "avg@n is": [json.dumps(older | {"correct": row["n"] - row["correct"]}), "\n", *others],
        "correct: 3 of 2": [json.dumps(row | {"correct": 3}), "\n", *others],
        "suite: must be one of": [json.dumps(row | {"suite": "aepo_math"}), "\n", *others],
        "id: must be a text": [json.dumps(row | {"id": ["a"]}), "\n", *others],
        "n: must be a whole number": [json.dumps(row | {"n": True}), "\n", *others],
        "n is missing": ['{"suite": "aepo_arithmetic", "id": "a"}\n', *others],
        "family: must be a text": [json.dumps(row | {"family": 1}), "\n", *others],
        "maj: '1': must be a number": [json.dumps(row | {"maj": {"1": "x"}}), "\n", *others],
        "3 paths of 2 samples": [with_counts(row, correct_paths=[1, 1, 1]), *others],
        "counts: 9 answers": [with_counts(row, wrong_answers=[9], correct_answers=[]), *others],
        "counts: wrong_answers: must be a whole number": [with_counts(row, wrong_answers=[0]), *others],
        "counts: correct_paths: must be a list": [with_counts(row, correct_paths="1"), *others],
        "counts: correct_answers is missing": [json.dumps(row | {"counts": {}}), "\n", *others],
    }
    for message, lines in cases.items():
        if message == "avg@n is" and row["correct"] * 2 == row["n"]:
            lines[0] = json.dumps(older | {"correct": row["n"]})
        file.write_text("".join(lines))
        line = refused(compare_command, evaluated, folder)
        assert f"{file}" in line
        assert message in line


def with_counts(row, **counts):
    """A line with other counts of answers and paths."""
    return json.dumps(row | {"counts": row["counts"] | counts}) + "\n"


def test_nothing_is_overwritten_where_the_samples_of_a_suite_are_gone(folder):
    """A score of nothing is no score."""
    (shared,) = (folder / "samples").glob("*.jsonl")
    before, content = contents(folder), shared.read_bytes()
    head = content[: content.index(b"\n") + 1]
    losses = {
        f"no sample of {SUITE}": lambda: shutil.rmtree(folder / "samples"),
        f"no sample of {OTHER}": shared.unlink,
        f"{shared} holds no sample of {SUITE}": lambda: shared.write_bytes(b""),
        f"holds no sample of {OTHER}": lambda: shared.write_bytes(head),
    }
    for message, lose in losses.items():
        lose()
        assert message in refused(regrade_command, folder)
        assert "the same `aepo eval` draws them" in refused(regrade_command, folder)
        assert contents(folder) == before
        (folder / "samples").mkdir(exist_ok=True)
        shared.write_bytes(content)
    shared.unlink()
    assert "no sample of" in refused(regrade_command, folder, "-o", folder / "elsewhere")
    assert not (folder / "elsewhere").exists()


def test_reports_are_replaced_together_or_not_at_all(folder, monkeypatch):
    before = contents(folder)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("aepo_rllib.eval.reports.report_files.write_page", full)  # the last one
        with pytest.raises(OSError, match="No space left"):
            regrade(folder, n=1, grader="math-numeric")
    assert contents(folder) == before
    assert {file.name for file in folder.iterdir()} == {*before, ".lock", "samples"}
    (folder / ".reports-left-by-a-kill").mkdir()
    regrade(folder, n=1)
    assert contents(folder).keys() == before.keys()
    assert all(contents(folder)[name] != before[name] for name in before)
    assert {file.name for file in folder.iterdir()} == {*before, ".lock", "samples"}


def test_links_in_the_place_of_reports_are_replaced_and_not_written_through(folder, tmp_path):
    (precious := tmp_path / "precious").write_text("mine")
    for name in contents(folder).keys() - {"evaluation.json"}:
        (folder / name).unlink()
        (folder / name).symlink_to(precious)
    regrade(folder)
    assert precious.read_text() == "mine"
    assert not any(file.is_symlink() for file in folder.iterdir())


def test_reports_are_not_written_into_another_evaluation(folder, evaluated):
    before = contents(folder)
    assert "holds an evaluation of its own" in refused(regrade_command, evaluated, "-o", folder)
    assert contents(folder) == before
    # A link to the same folder is the same folder.
    os.symlink(folder, folder.parent / "link")
    regrade(folder, output=folder.parent / "link")
