"""Problems and lm-eval tasks of the user's own, from the command line to the reports."""

import gzip
import json
import os
import shutil
import sys

import pytest
from click.testing import CliRunner
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from transformers import AutoTokenizer

from aepo_rllib.cli.compare import compare_command
from aepo_rllib.cli.eval import eval_command
from aepo_rllib.cli.regrade import regrade_command
from aepo_rllib.envs import Problem
from aepo_rllib.eval.data import as_doc, as_problem, docs_digest
from aepo_rllib.eval.regrading import regrade
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.eval.sampling.sample_files import prompt_key
from aepo_rllib.eval.spec import EvaluationSpec
from aepo_rllib.eval.suites.catalogue import SHIPPED_FOLDER
from aepo_rllib.eval.suites.naming import set_name
from aepo_rllib.models.hf import resolve_model

SAMPLING = ("--n", "2", "--max-new-tokens", "16", "--template", "plain")
ROWS = [{"question": f"Add {number} 5.", "final": str(number + 5)} for number in range(3)]
FIELDS = "{problem: question, answer: final}"
CHAT = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
TURNS = (("system", "Make 3 from 1 2."), ("user", "Add 1 1."), ("assistant", "2"))
"""Of letters that the embedded model knows."""


def write_rows(file, rows=ROWS):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_task(folder, name="mine", extra="", **kwargs):
    folder.mkdir(exist_ok=True)
    shutil.copy(SHIPPED_FOLDER / "_passk_yaml", folder)
    data = {"source": "mine.jsonl", "fields": {"problem": "question", "answer": "final"}} | kwargs
    text = f"include: _passk_yaml\ntask: {name}\ndataset_kwargs: {json.dumps(data)}\n"
    (folder / f"{name}.yaml").write_text(f"{text}metadata: {{version: 1.0, template: plain}}\n{extra}")
    return folder / f"{name}.yaml"


@pytest.fixture
def aepo(tmp_path, monkeypatch):
    """Commands in a folder of their own: what they print, in one line; it ends with the error if there is one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AEPO_DATA_DIR", raising=False)

    def run(command, *arguments, fails=False):
        result = CliRunner().invoke(command, list(map(str, arguments)), terminal_width=200)
        assert result.exit_code == (2 if fails else 0), result.output
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    return run


def scores_of(summary):
    return {name: summary[name] for name in ("suites", "groups")}


def samples_in(folder):
    return b"".join(file.read_bytes() for file in sorted((folder / "samples").glob("*.jsonl")))


def test_own_problems_are_a_suite_like_any_other(aepo, tmp_path):
    source = tmp_path / "my problems.jsonl.gz"
    with gzip.open(source, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    arguments = ("--problems", source.name, "--fields", FIELDS, *SAMPLING, "-o", "out")
    shown = aepo(eval_command, *arguments)
    assert "my-problems: pass@k" in shown
    assert "aepo_arithmetic" not in shown
    assert "fewer than 20 problems" in shown
    out = tmp_path / "out"
    scores, first = json.loads((out / "passk.json").read_text()), samples_in(out)
    assert scores["suites"]["my-problems"]["problems"] == 3
    assert scores["evaluation"]["first_prompts"] == {"my-problems": "Add 0 5."}
    page = (out / "samples.html").read_text()
    assert "Add 2 5." in page
    assert "fewer than 20 problems" in page
    # The same command draws nothing, a larger n keeps what there is.
    aepo(eval_command, *arguments)
    assert samples_in(out) == first
    aepo(eval_command, *arguments, "--n", "4")
    assert samples_in(out).startswith(first)
    assert len(samples_in(out)) > len(first)
    # The folder has all that is needed to judge again, wherever it is.
    source.unlink()
    (tmp_path / "elsewhere").mkdir()
    out = out.rename(tmp_path / "elsewhere" / "out")
    aepo(regrade_command, out, "--n", "2", "--grader", "math-numeric")
    assert json.loads((out / "passk.json").read_text())["suites"]["my-problems"]["maj"].keys() == {"1", "2"}
    aepo(regrade_command, out, "-o", "again", "--grader", "math")
    assert "grader: math-numeric in elsewhere/out, math in again" in aepo(compare_command, out, "again")


def test_changed_problems_are_refused(aepo, tmp_path):
    arguments = ("--problems", write_rows(tmp_path / "mine.jsonl").name, "--fields", FIELDS, *SAMPLING, "-o", "out")
    aepo(eval_command, *arguments)
    write_rows(tmp_path / "mine.jsonl", [ROWS[0] | {"final": "6"}, *ROWS[1:]])
    os.utime(tmp_path / "mine.jsonl", ns=(0, 1))
    assert "holds another evaluation: mine" in aepo(eval_command, *arguments, fails=True)
    aepo(eval_command, *arguments, "-o", "other")
    message = aepo(compare_command, "out", "other", fails=True)
    assert "same ids but other contents, such as 'mine-0'" in message
    (kept,) = (tmp_path / "out" / "problem_sets").iterdir()
    kept.write_text(kept.read_text().replace('"answer": "5"', '"answer": "6"'))
    assert "the problems of mine have changed" in aepo(regrade_command, "out", fails=True)
    kept.write_text(kept.read_text().replace('"answer"', '"anser"', 1))
    assert f"{kept.relative_to(tmp_path)}:1: answer is missing" in aepo(regrade_command, "out", fails=True)
    kept.unlink()
    assert "the same `aepo eval` writes it" in aepo(regrade_command, "out", fails=True)
    # Another evaluation in its place takes its problems along.
    aepo(eval_command, "--limit", "1", *SAMPLING, "-o", "out", "--overwrite")
    assert not list((tmp_path / "out" / "problem_sets").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "mine.jsonl"], "--problems mine.jsonl"),
        (["--suite", "data/mine.parquet"], "--problems data/mine.parquet"),
        (["--suite", "mine.csv.gz"], "--problems mine.csv.gz"),
        (["--suite", "mine.yaml"], "--suite mine.yaml: there is no such file"),
        (["--suite", "x", "--include-path", "nowhere"], "--include-path nowhere: there is no such folder"),
        (["--suite", "x", "--include-path", "."], "unknown suite 'x'"),
        (["--problems", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--problems", "mine.jsonl"], "mine.jsonl:1: no"),
        (["--problems", "aepo_math500.jsonl"], "there is a suite 'aepo_math500' already"),
        (["--problems", "mine.jsonl", "--problems", "./mine.jsonl"], "there is a suite 'mine' already"),
        (["--problems", "mine.jsonl", "--fields", "{problem: a, answer: b}", "--verifier", "sympy"], "sympy"),
        (["--problems", "mine.jsonl", "--fields", "[a]"], "--fields: expected a mapping"),
        (["--verifier", "math"], "fields and verifier are about problems of your own"),
    ],
)
def test_what_cannot_be_evaluated_on_is_refused_before_anything_is_loaded(arguments, message, aepo, tmp_path):
    for name in ("mine", "aepo_math500"):
        write_rows(tmp_path / f"{name}.jsonl", [{"a": "Add 1 2.", "b": "3"}])
    if arguments[2:3] == ["--problems"]:
        arguments += ["--fields", "{problem: a, answer: b}"]
    shown = aepo(eval_command, *arguments, fails=True)
    assert message in shown
    assert "loading torch" not in shown


def test_the_name_of_a_set_may_be_the_name_of_a_file():
    named = {
        "a/b/mine.jsonl": "mine",
        "mine.json.gz": "mine",
        "org/name:main": "name-main",
        "openai/gsm8k": "gsm8k",
        "data/my set (1).parquet": "my-set-1",
        "v1.5.csv": "v1.5",
        "..": "problems",
        ".jsonl": "problems",
        "Übung.csv": "Übung",
        "x/\x1b[2J.jsonl": "2J",
        "a" * 300: "a" * 100,
    }
    assert {source: set_name(source) for source in named} == named
    assert all(set_name(name) == name for name in named.values())


def test_own_tasks_are_suites_and_groups(aepo, tmp_path):
    folder = tmp_path / "tasks"
    write_task(folder)
    write_task(folder, "other")
    write_rows(folder / "mine.jsonl")  # beside the YAML files, wherever the command runs
    (folder / "both.yaml").write_text(
        "group: both\ntask: [mine, other]\nmetadata: {version: 1.0}\n"
        "aggregate_metric_list: [{metric: pass@1, weight_by_size: false}]\n"
    )
    few = ("--n", "2", "--max-new-tokens", "16")
    aepo(eval_command, "--suite", "tasks/mine.yaml", *few, "-o", "one")
    aepo(eval_command, "--suite", "both", "--suite", "aepo_arithmetic", "--include-path", "tasks", *few, "-o", "two")
    one, two = (json.loads((tmp_path / name / "passk.json").read_text()) for name in ("one", "two"))
    assert list(two["suites"]) == ["aepo_arithmetic", "mine", "other"]
    assert two["groups"]["both"]["suites"] == ["mine", "other"]
    assert one["suites"]["mine"] == two["suites"]["mine"]
    for name, again in (("one", {"suites": ["tasks/mine.yaml"]}), ("two", {"include_path": "tasks"})):
        assert "name it on the command line" in aepo(regrade_command, name, fails=True)
        assert scores_of(regrade(tmp_path / name, **again)) == scores_of(one if name == "one" else two)
    write_rows(folder / "mine.jsonl", [ROWS[0] | {"final": "6"}, *ROWS[1:]])
    os.utime(folder / "mine.jsonl", ns=(0, 1))
    assert "problems of mine have changed" in aepo(regrade_command, "one", "--suite", "tasks/mine.yaml", fails=True)
    assert "give folder and name" in aepo(eval_command, "--suite", "tasks/both.yaml", fails=True)


@pytest.mark.process
def test_lm_evals_own_model_runs_an_own_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "tasks")
    write_rows(tmp_path / "tasks" / "mine.jsonl")
    results = simple_evaluate(
        model="hf",
        model_args={"pretrained": resolve_model("embedded")},
        device="cpu",
        tasks=["mine"],
        task_manager=TaskManager(include_path="tasks", include_defaults=False, metadata={"repeats": 2}),
        gen_kwargs={"max_gen_toks": 8},
    )
    assert len(results["samples"]["mine"]) == 3
    assert "pass@2,graded" in results["results"]["mine"]


BAD_TASKS = {
    "no pass@k task": "task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {file}}}\ntest_split: train\n"
    "output_type: generate_until\ndoc_to_text: question\ndoc_to_target: final\n",
    "cannot be loaded": "include: _passk_yaml\ntask: {name}\ncustom_dataset: !function nowhere.load\n",
    "document 0 is no problem": "include: _passk_yaml\ntask: {name}\ncustom_dataset: !function docs.load\n",
    "no YAML file of a task": "task: [{name}",
    "names no single task": "include: _passk_yaml\n",
    "there is a suite 'aepo_math500' already": "include: _passk_yaml\ntask: aepo_math500\n",
}


@pytest.mark.parametrize("message", BAD_TASKS)
def test_an_own_task_that_is_none_of_ours_is_refused_in_one_line(message, aepo, tmp_path):
    file = write_task(tmp_path)
    (tmp_path / "docs.py").write_text(
        "import datasets\ndef load(**_): return {'test': datasets.Dataset.from_list([{'id': '1', 'problem': 'Add'}])}\n"
    )
    rows = write_rows(tmp_path / "mine.jsonl")
    file.write_text(BAD_TASKS[message].format(name="mine", file=rows))
    assert message in aepo(eval_command, "--suite", "mine.yaml", *SAMPLING, fails=True)
    assert not (tmp_path / "eval-embedded").exists()


def test_nothing_that_a_folder_names_is_run(aepo, tmp_path, monkeypatch):
    """Whoever sends an evaluation names its tasks and functions; whoever grades it decides what runs."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'MARKER')!r}, 'w').close()\ndef pwn(*_): return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    write_rows(tmp_path / "mine.jsonl")
    aepo(eval_command, "--problems", "mine.jsonl", "--fields", FIELDS, *SAMPLING, "-o", "sent")
    sent = tmp_path / "sent"
    plan, kept = json.loads((sent / "evaluation.json").read_text()), sent / "problem_sets" / "mine.jsonl"
    problems = kept.read_text()
    write_task(sent, extra="doc_to_text: !function evil.pwn\n")
    shutil.copy(tmp_path / "evil.py", sent)

    def refused(message, *arguments, **changes):
        (sent / "evaluation.json").write_text(json.dumps(plan | changes))
        assert message in aepo(regrade_command, "sent", *arguments, fails=True)

    refused("name it yourself: --grader evil:pwn", grader="evil:pwn")
    kept.write_text(problems.replace('"verifier": "math"', '"verifier": "evil:pwn"'))
    refused("mine.jsonl:1 names the function 'evil:pwn'")
    kept.write_text(problems)
    for name in ("sent/mine.yaml", "mine.yaml", str(sent / "mine.yaml"), "../mine"):
        refused("own_suites: must be the name of a task", own_suites=[name])
        refused("own_suites: must be the name of a task", "--include-path", tmp_path, own_suites=[name])
        refused("own_problems: must be the name of a problem set", own_problems=[name.removesuffix(".yaml") + "/x"])
    refused("name it on the command line", own_suites=["mine"])
    (tmp_path / "others").mkdir()
    refused("unknown suite 'mine'; others has none", "--include-path", "others", own_suites=["mine"])
    assert not (tmp_path / "MARKER").exists()
    assert "evil" not in sys.modules
    # Named by the user, another rule takes the place of a function.
    kept.write_text(problems.replace('"verifier": "math"', '"verifier": "evil:pwn"'))
    (sent / "evaluation.json").write_text(json.dumps(plan))
    aepo(regrade_command, "sent", "--grader", "math")
    assert not (tmp_path / "MARKER").exists()


BAD_LINES = {
    "verifier: unknown verifier": {"verifier": "sympy"},
    "id: must be a text": {"id": 7},
    "extra: its content: broken JSON": {"extra": "{"},
    "turns: must be pairs": {"turns": '[["user"]]'},
    "unknown field": {"more": ""},
    "answer: must be text without": {"answer": "\ud800"},
}


@pytest.mark.parametrize("message", BAD_LINES)
def test_a_damaged_problem_set_is_named_by_line(message, tmp_path):
    from aepo_rllib.eval.suites.problem_copies import FOLDER, read_problem_set, write_problem_set

    problems = [Problem(id=str(number), text="Add", answer="1", turns=TURNS) for number in range(2)]
    write_problem_set(tmp_path, "mine", problems)
    assert read_problem_set(tmp_path, "mine", None) == problems
    file = tmp_path / FOLDER / "mine.jsonl"
    first, second = file.read_text().splitlines()
    file.write_text(f"{first}\n{json.dumps(json.loads(second) | BAD_LINES[message])}\n")
    with pytest.raises(ValueError, match=f"{file}:2: {message}"):
        read_problem_set(tmp_path, "mine", None)


def test_specs_of_older_versions_are_read_and_those_of_this_one_look_like_them(tmp_path):
    evaluate_model(n=1, limit=1, max_new_tokens=4, output=tmp_path)
    held = json.loads((tmp_path / "evaluation.json").read_text())
    assert not {"own_problems", "own_suites"} & set(held)
    assert EvaluationSpec.read(tmp_path).own_problems == ()


def test_turns_are_part_of_a_document_and_leave_others_as_they_were():
    plain, chatty = Problem("1", "Add 1 2.", "3"), Problem("1", "Add 1 2.", "3", turns=TURNS)
    assert [as_problem(as_doc(problem)) for problem in (plain, chatty)] == [plain, chatty]
    assert docs_digest([as_doc(plain)]) == "4f2d5119ec5ad366"  # as of a version without turns
    assert docs_digest([as_doc(plain)]) != docs_digest([as_doc(chatty)])
    assert prompt_key("a") == prompt_key("a", 0, ())
    keys = {prompt_key("a"), prompt_key("a", 1), prompt_key("a", 0, TURNS), prompt_key("a", 0, TURNS[:1])}
    assert len(keys) == 4


@pytest.fixture
def chatty(tmp_path):
    """The embedded model with a chat template, and problems of which one has turns before it."""
    model = tmp_path / "chatty"
    shutil.copytree(resolve_model("embedded"), model)
    (model / "chat_template.jinja").write_text(CHAT)
    chat = [{"role": role, "content": content} for role, content in (*TURNS, ("user", "Add 3 4."))]
    rows = [{"prompt": chat, "answer": "7"}, {"prompt": [chat[-1]], "answer": "7"}]
    write_rows(tmp_path / "mine.jsonl", rows)
    tokenizer = AutoTokenizer.from_pretrained(model)
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return model, tmp_path / "mine.jsonl", rendered, tokenizer


@pytest.mark.process
def test_turns_reach_the_model_through_its_chat_template(chatty, tmp_path):
    model, source, rendered, tokenizer = chatty
    options = {"problems": [str(source)], "n": 2, "max_new_tokens": 8, "output": tmp_path / "out"}
    with pytest.raises(ValueError, match="has turns of a chat before it"):
        evaluate_model(str(model), template="plain", **options)
    evaluation = evaluate_model(str(model), template="aepo-think", **options)["evaluation"]
    # The template's text goes on after the problem.
    asked = tokenizer.decode(tokenizer(rendered.rstrip(), add_special_tokens=False)["input_ids"])
    assert evaluation["first_prompts"]["mine"].startswith(asked)
    assert "1 1. 2" in asked
    (file,) = (tmp_path / "out" / "samples").glob("*.jsonl")
    prompts = {json.loads(line)["prompt"] for line in file.read_text().splitlines() if '"prompt"' in line}
    assert len(prompts) == 2  # the same question after other turns is another one
    page = (tmp_path / "out" / "samples.html").read_text()
    assert "[system] Make 3 from 1 2.\\n[user] Add 1 1.\\n[assistant] 2\\nAdd 3 4." in page
    assert regrade(tmp_path / "out")["suites"]["mine"]["missing"] == 0


@pytest.mark.process
@pytest.mark.parametrize("name", ["hf", "aepo-hf"])
def test_in_lm_eval_turns_need_its_chat_template(name, chatty, tmp_path):
    model, source, rendered, _ = chatty
    write_task(tmp_path / "tasks", source=str(source), fields={})

    def prompts(**options):
        results = simple_evaluate(
            model=name,
            model_args={"pretrained": str(model)},
            device="cpu",
            tasks=["mine"],
            task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
            gen_kwargs={"max_gen_toks": 4},
            **options,
        )
        return [row["arguments"][0][0] for row in results["samples"]["mine"]]

    with pytest.raises(ValueError, match="add --apply_chat_template"):
        prompts()
    # What lm-eval's own model is asked is the rendered chat; ours puts the chat around the text by itself.
    assert prompts(apply_chat_template=True)[0] == (rendered if name == "hf" else "Add 3 4.")
