import json
import os
import shutil

import pytest
from lm_eval.utils import make_table
from rich.console import Console

from aepo_rllib.envs import load_problems
from aepo_rllib.eval.regrading import regrade
from aepo_rllib.eval.reports.differences import compare
from aepo_rllib.eval.reports.evaluations import read_evaluations
from aepo_rllib.eval.reports.sheet_text import terminal
from aepo_rllib.eval.reports.table import suite_sheet
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.models.hf import resolve_model
from aepo_rllib.support.locks import claimed

SUITE = "aepo_arithmetic"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    return evaluate_model(n=16, limit=20, seed=1, output=folder), folder


def test_reports_agree_with_one_another(evaluated):
    summary, folder = evaluated
    scores = summary["suites"][SUITE]
    assert json.loads((folder / "passk.json").read_text()) == summary
    problems = [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()]
    assert len(problems) == scores["problems"] == 20
    assert sum(p["correct"] for p in problems) / (16 * 20) == pytest.approx(scores["k"]["1"]["mean"])
    stock = json.loads((folder / "results.json").read_text())
    assert stock["results"][SUITE]["pass@16,graded"] == pytest.approx(scores["k"]["16"]["mean"])
    assert stock["results"][SUITE]["pass@4_stderr,graded"] == pytest.approx(scores["k"]["4"]["se"])
    assert stock["config"]["model_args"]["seed"] == 1
    assert stock["results"][SUITE]["maj@16,graded"] == pytest.approx(scores["maj"]["16"])
    assert "samples" not in stock
    assert all(sum(answer["samples"] for answer in p["answers"]) == p["n"] == 16 for p in problems)
    assert summary["evaluation"]["first_prompts"] == {SUITE: load_problems("arithmetic", split="test")[0].text}
    assert (folder / "passk.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "passk.svg").read_text()
    assert problems[0]["id"] in (folder / "samples.html").read_text()


def test_summary_is_complete(evaluated):
    scores = evaluated[0]["suites"][SUITE]
    assert list(scores["k"]) == ["1", "2", "4", "8", "16"]
    assert (scores["n"], scores["temperature"], scores["max_gen_toks"]) == (16, 1.0, 64)
    assert sum(part["problems"] for part in scores["families"].values()) == 20
    low, high = scores["k"]["1"]["ci95"]
    assert low < scores["k"]["1"]["mean"] < high
    assert 0 <= scores["truncated"] <= 0.1
    assert scores["timed_out"] == scores["grader_crashed"] == scores["missing"] == 0
    assert scores["avg@n"] == pytest.approx(scores["k"]["1"]["mean"])
    assert 5 < scores["tokens"] < 64


def test_table_lists_k_in_numeric_order(evaluated):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - only recorded
    console.print(terminal(suite_sheet(SUITE, evaluated[0]["suites"][SUITE]), 100))
    labels = [line.split()[0] for line in console.export_text().splitlines() if line.strip().startswith("pass@")]
    assert labels == ["pass@1", "pass@2", "pass@4", "pass@8", "pass@16"]


def test_greedy_accuracy_needs_one_sample():
    first, other_seed = (evaluate_model(n=1, limit=4, temperature=0, seed=seed)["suites"][SUITE] for seed in (0, 9))
    assert first["k"]["1"]["mean"] == other_seed["k"]["1"]["mean"]
    assert {name: part["k"]["1"]["mean"] for name, part in first["families"].items()} == {
        name: part["k"]["1"]["mean"] for name, part in other_seed["families"].items()
    }
    with pytest.raises(ValueError, match="equal samples"):
        evaluate_model(n=2, temperature=0)


def test_unknown_suites_and_impossible_k_are_refused_before_loading():
    with pytest.raises(ValueError, match="did you mean aepo_arithmetic"):
        evaluate_model("no-such-model", suites=("arithmetic",))
    with pytest.raises(ValueError, match="pass@128"):
        evaluate_model("no-such-model", n=64, ks=(1, 128))


def test_a_larger_n_keeps_the_samples_and_a_smaller_one_looks_at_fewer(tmp_path):
    small = evaluate_model(n=4, limit=3, seed=2, output=tmp_path / "a")
    evaluate_model(n=16, limit=3, seed=2, output=tmp_path / "a")
    whole = evaluate_model(n=16, limit=3, seed=2, output=tmp_path / "b")
    (grown,), (fresh,) = ((tmp_path / name / "samples").glob("*.jsonl") for name in "ab")
    assert grown.name == fresh.name
    assert texts(grown) == texts(fresh)
    assert scores_of(json.loads((tmp_path / "a" / "passk.json").read_text())) == scores_of(whole)
    assert scores_of(regrade(tmp_path / "a", n=4)) == scores_of(small)


def test_regrading_needs_neither_model_nor_sampling(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(resolve_model("embedded"), model)
    first = evaluate_model(str(model), n=4, limit=5, output=tmp_path / "out")
    shutil.rmtree(model)
    before = (tmp_path / "out" / "passk.json").read_text()
    assert scores_of(regrade(tmp_path / "out")) == scores_of(first)
    assert (tmp_path / "out" / "passk.json").read_text() == before
    with pytest.raises(ValueError, match="unknown verifier"):
        regrade(tmp_path / "out", grader="sympy")
    with pytest.raises(ValueError, match=r"no evaluation.*evaluation\.json"):
        regrade(tmp_path)


def test_where_a_problem_has_fewer_than_k_samples_pass_at_k_is_undefined(tmp_path):
    evaluate_model(n=4, limit=3, output=tmp_path)
    evaluate_model(n=8, limit=3, output=tmp_path)
    (store,) = (tmp_path / "samples").glob("*.jsonl")
    lines = store.read_text().splitlines(keepends=True)
    ends = [number for number, line in enumerate(lines, start=1) if '"wave"' in line]
    store.write_text("".join(lines[: ends[0]]))  # as a kill in the second evaluation leaves it
    scores = regrade(tmp_path)["suites"][SUITE]
    assert scores["missing"] == 3 * 4
    assert scores["k"]["4"]["mean"] is not None
    assert scores["k"]["8"] == {"mean": None, "se": None, "ci95": None}
    assert scores["avg@n"] is scores["maj"]["8"] is None
    assert "NaN" not in (tmp_path / "results.json").read_text() + (tmp_path / "passk.json").read_text()


def test_a_grader_for_one_run_changes_verdicts_only(tmp_path):
    evaluate_model(n=2, limit=40, output=tmp_path)
    stored = {file.name: file.read_bytes() for file in (tmp_path / "samples").glob("*.jsonl")}
    evaluate_model(n=2, limit=40, output=tmp_path, grader="math-numeric")
    assert {file.name: file.read_bytes() for file in (tmp_path / "samples").glob("*.jsonl")} == stored


def texts(file):
    """What a store holds, by place."""
    rows = [json.loads(line) for line in file.read_text().split("\n") if line]
    return {(row["prompt"], row["sample"]): row["text"] for row in rows if "text" in row}


def scores_of(summary):
    return {name: summary[name] for name in ("suites", "groups")}


def test_a_refused_evaluation_changes_nothing(tmp_path):
    evaluate_model(n=2, limit=2, output=tmp_path / "a")
    before = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir() if file.is_file()}
    with claimed(tmp_path / "a"), pytest.raises(ValueError, match="in use by process"):
        evaluate_model(n=4, limit=2, output=tmp_path / "a", temperature=0.5, overwrite=True)
    with claimed(tmp_path / "a"), pytest.raises(ValueError, match="in use by process"):
        regrade(tmp_path / "a", n=1)
    after = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir() if file.is_file()}
    assert after | {".lock": b""} == before | {".lock": b""}
    with pytest.raises(ValueError, match="context is 512"):
        evaluate_model(n=2, limit=2, max_new_tokens=600, output=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    evaluate_model(n=2, limit=2, max_new_tokens=8, output=tmp_path / "b")


def test_overwriting_removes_the_reports_of_the_other_evaluation_first(tmp_path, monkeypatch):
    evaluate_model(n=2, limit=2, output=tmp_path)
    monkeypatch.setattr("lm_eval.evaluator.evaluate", lambda **_: (_ for _ in ()).throw(RuntimeError("killed")))
    with pytest.raises(RuntimeError, match="killed"):
        evaluate_model(n=2, limit=2, temperature=0.5, output=tmp_path, overwrite=True)
    assert sorted(file.name for file in tmp_path.iterdir() if file.name[0] != ".") == ["evaluation.json", "samples"]


def test_other_problems_under_the_same_ids_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("AEPO_DATA_DIR", str(tmp_path))
    file = tmp_path / "aime24.jsonl"

    def evaluate_with(answer, output):
        file.write_text(json.dumps({"id": "a", "problem": "Add 1 2.", "answer": answer}) + "\n")
        os.utime(file, ns=(0, evaluate_with.calls))
        evaluate_with.calls += 1
        return evaluate_model(suites=["aepo_aime24"], n=2, max_new_tokens=16, template="plain", output=output)

    evaluate_with.calls = 0
    evaluate_with("3", tmp_path / "one")
    with pytest.raises(ValueError, match="problems"):
        evaluate_with("4", tmp_path / "one")
    evaluate_with("4", tmp_path / "two")
    with pytest.raises(ValueError, match=r"problems of aepo_aime24 have changed"):
        regrade(tmp_path / "one")
    with pytest.raises(ValueError, match="same ids but other contents"):
        compare(read_evaluations([tmp_path / "one", tmp_path / "two"]))


def test_lm_evals_own_table_reads_the_results_of_an_interrupted_evaluation(tmp_path):
    evaluate_model(n=2, limit=2, output=tmp_path / "a")
    regrade(tmp_path / "a", n=4)
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert "pass@4,graded" not in results["results"][SUITE]
    assert "pass@2" in make_table(results)


def test_regrading_remembers_its_grader_and_writes_where_it_is_told(tmp_path):
    evaluate_model(n=2, limit=2, output=tmp_path / "a")
    regrade(tmp_path / "a", grader="math-numeric", output=tmp_path / "b")
    assert json.loads((tmp_path / "a" / "evaluation.json").read_text())["grader"] is None
    regrade(tmp_path / "a", grader="math-numeric")
    assert regrade(tmp_path / "a")["evaluation"]["grader"] == "math-numeric"
    assert compare(read_evaluations([tmp_path / "a", tmp_path / "b"]))[0].problems == 2


def test_names_are_shown_as_they_are(tmp_path):
    """Square brackets in a family or folder are no markup."""
    summary = evaluate_model(n=1, limit=2)
    scores = summary["suites"][SUITE]
    scores["families"] = {"[/b] algebra": scores | {"families": {}}, "[red]": scores | {"families": {}}}
    console = Console(width=100, record=True, markup=False, file=open(os.devnull, "w"))  # noqa: SIM115 - only recorded
    console.print(terminal(suite_sheet("suite[/bold]", scores), console.width))
    text = console.export_text()
    assert all(name in text for name in ("suite[/bold]", "[/b] algebra", "[red]"))


def test_regrading_reads_answers_in_another_form(tmp_path):
    """The embedded model writes boxes, and none of `####`."""
    boxes = evaluate_model(n=2, limit=4, output=tmp_path, template="plain")
    regraded = regrade(tmp_path, answer_form="hash")
    assert [summary["suites"][SUITE]["no_answer"] for summary in (boxes, regraded)] == [0, 1]
    assert regrade(tmp_path)["evaluation"]["answer_form"] == "hash"
    with pytest.raises(ValueError, match="answer_form='boxes': must be one of"):
        regrade(tmp_path, answer_form="boxes")
