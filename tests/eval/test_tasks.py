import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from aepo_rllib.envs import Verdict, load_problems
from aepo_rllib.envs.grading import Grader
from aepo_rllib.eval.data import as_doc, as_problem, load_docs
from aepo_rllib.eval.passk import pass_at_k
from aepo_rllib.eval.reports.outcomes import read_outcomes
from aepo_rllib.eval.reports.summary import summarize
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.eval.sampling.requests import read_requests
from aepo_rllib.eval.scoring import grade_samples, majority, no_answer, not_judged, pass_at_ks
from aepo_rllib.eval.suites.catalogue import SHIPPED_FOLDER, all_suites, expand
from aepo_rllib.models.hf import resolve_model

SUITE = "aepo_arithmetic"
SUITES = [name for name, suite in all_suites().items() if not suite.members]
GROUPS = [name for name, suite in all_suites().items() if suite.members]
MADE_UP = {"problem": "What is 3 + 4?", "answer": "7"}
"""The published problems belong to their publishers; one in the same schema runs a suite as well."""


def manager(**metadata):
    return TaskManager(include_path=str(SHIPPED_FOLDER), include_defaults=False, metadata=metadata)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """A folder with a file of two problems for every benchmark."""
    for suite in map(all_suites().get, SUITES):
        if "file" in suite.data:
            rows = [MADE_UP | {"id": f"{suite.name}-{number}"} for number in range(2)]
            (tmp_path / f"{suite.data['file']}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("AEPO_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_loads_under_its_files_name(suite, data_dir):
    task = manager(repeats=3).load([suite])["tasks"][suite]
    assert task.config.repeats == 3
    assert task.config.generation_kwargs["do_sample"] is True
    assert task.config.generation_kwargs["until"] == []
    assert str(task.VERSION) == all_suites()[suite].version


def test_every_suite_and_group_runs_on_one_problem(data_dir, tmp_path):
    """`lm_eval validate` checks names only: a suite with a misspelt function passes it."""
    output = tmp_path / "out"
    names = [*GROUPS, *(name for name in SUITES if name.startswith(("aepo_arith", "aepo_countdown")))]
    summary = evaluate_model(suites=names, n=2, limit=1, max_new_tokens=8, output=output)
    assert sorted(summary["suites"]) == sorted(SUITES)
    assert all(scores["problems"] == 1 for scores in summary["suites"].values())
    assert "\\boxed{}" in summary["evaluation"]["first_prompts"]["aepo_aime24"]
    stock = json.loads((output / "results.json").read_text())
    for group in GROUPS:
        members = all_suites()[group].members
        scores = summary["groups"][group]
        assert tuple(scores["suites"]) == members == tuple(expand([group]))
        for k in ("1", "2"):
            macro = np.mean([summary["suites"][name]["k"][k]["mean"] for name in members])
            assert scores["k"][k]["mean"] == pytest.approx(macro)
            assert stock["groups"][group][f"pass@{k},graded"] == pytest.approx(macro)


def test_the_papers_sevens():
    later, first = all_suites()["aepo_math"].members, all_suites()["aepo_math_v1"].members
    assert len(later) == len(first) == 7
    assert set(later) ^ set(first) == {"aepo_aime25", "aepo_college_math"}


@pytest.mark.process
def test_a_group_is_a_macro_average(data_dir):
    """A suite with two problems weighs as much as one with twenty."""
    rows = [MADE_UP | {"id": str(number), "answer": str(number % 2)} for number in range(20)]
    (data_dir / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = simple_evaluate(
        model=_Parrot(r"\boxed{7}"), tasks=["aepo_math"], task_manager=manager(repeats=2), bootstrap_iters=0
    )
    summary = summarize(results)
    assert summary["suites"]["aepo_gsm8k"]["k"]["1"]["mean"] == 0
    assert summary["groups"]["aepo_math"]["k"]["1"]["mean"] == pytest.approx(6 / 7)
    assert results["groups"]["aepo_math"]["pass@2,graded"] == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (None, "Please reason step by step, and put your final answer within \\boxed{}.\n\nWhat is 3 + 4?"),
        ("question-answer", "Question: What is 3 + 4?\nAnswer:"),
        ("plain", "What is 3 + 4?"),
    ],
)
def test_a_suites_prompt_is_a_templates_text(data_dir, template, prompt):
    task = manager(**({"template": template} if template else {})).load(["aepo_aime24"])["tasks"]["aepo_aime24"]
    assert task.doc_to_text(task.test_docs()[0]) == prompt


def test_unusable_metadata_is_refused(data_dir):
    with pytest.raises(ValueError, match="unknown prompt template"):
        manager(template="boxd").load(["aepo_aime24"])
    with pytest.raises(ValueError, match=r"every k must be in 1\.\.n, and n is 4"):
        manager(repeats=4, k=[1, 8]).load(["aepo_aime24"])
    with pytest.raises(ValueError, match="unknown verifier"):
        manager(grader="sympy").load(["aepo_aime24"])


@pytest.mark.process
def test_repeated_problems_stay_and_are_sampled_apart(data_dir):
    """College Math was published with 36 repeats."""
    assert len(load_docs(file="college_math")["test"]) == 2
    parrot = _Parrot("")
    simple_evaluate(model=parrot, tasks=["aepo_college_math"], task_manager=manager(repeats=2))
    assert len(parrot.places) == len(set(parrot.places)) == 4


def test_a_grader_for_one_run(data_dir):
    """Countdown problems have no known answer to compare with, so they keep their own."""
    benchmark = load_docs(file="minerva_math", verifier="math-numeric", grader="math")["test"]
    assert set(benchmark["verifier"]) == {"math"}
    embedded = load_docs("arithmetic", grader="math-numeric")["test"]
    assert set(embedded["verifier"]) == {"countdown", "math-numeric"}


def test_documents_keep_the_whole_problem():
    problems = load_problems("arithmetic", split="test")
    docs = manager().load([SUITE])["tasks"][SUITE].test_docs()
    assert len(docs) == len(problems)
    for problem, doc in zip(problems, docs, strict=True):
        back = as_problem(doc)
        assert (back.id, back.text, back.answer, back.verifier, back.family) == (
            problem.id,
            problem.text,
            problem.answer,
            problem.verifier,
            problem.family,
        )


def test_every_known_answer_passes_its_own_suite():
    docs = [as_doc(problem) for problem in load_problems("arithmetic", split="test")]
    graded = grade_samples([[rf"\boxed{{{doc['answer']}}}", "no idea"] for doc in docs], docs)
    assert {tuple(sample[0] for sample in samples) for samples in graded} == {("correct", "no_answer")}


def test_metrics_of_one_problem():
    samples = [
        [verdict, answer, None, None]
        for verdict, answer in (("correct", "1"), ("wrong", "2"), ("no_answer", ""), ("timed_out", "3"))
    ]
    assert pass_at_ks(["1"], [samples]) == {"pass@1": 0.25, "pass@2": 0.5, "pass@4": 1.0}
    assert pass_at_ks(["1"], [samples], k=[3]) == {"pass@3": pass_at_k(4, 1, 3)}
    assert no_answer(["1"], [samples]) == 0.25
    assert not_judged(["1"], [samples]) == 0.25
    assert majority(["1"], [samples]) == {"maj@4": pytest.approx(1 / 3)}
    undefined = pass_at_ks(["1"], [samples], k=[4, 8])
    assert undefined["pass@4"] == 1.0
    assert np.isnan(undefined["pass@8"])


@pytest.mark.process
def test_counts_equal_grading_the_engines_own_samples(direct_samples):
    n, limit, seed = 8, 6, 3
    results = simple_evaluate(
        model="aepo-hf",
        model_args={"pretrained": "embedded", "seed": seed},
        tasks=[SUITE],
        task_manager=manager(repeats=n, k=[1, 3]),
        limit=limit,
    )
    outcomes = read_outcomes(results)[SUITE]
    problems = load_problems("arithmetic", split="test")[:limit]
    texts = [text for text, _ in direct_samples(n, range(limit), seed)]
    with Grader() as grader:
        grades = grader.grade_batch([problem for problem in problems for _ in range(n)], texts)
    correct = [grade.verdict is Verdict.CORRECT for grade in grades]
    counts = [sum(correct[start : start + n]) for start in range(0, len(correct), n)]
    assert sum(counts) > 0
    assert [outcome.correct for outcome in outcomes] == counts
    assert [outcome.id for outcome in outcomes] == [problem.id for problem in problems]
    assert all(outcome.truncated is not None for outcome in outcomes)
    scores = results["results"][SUITE]
    assert scores["pass@3,graded"] == pytest.approx(sum(pass_at_k(n, c, 3) for c in counts) / limit)
    assert "pass@2,graded" not in scores


class _Parrot(LM):
    """Says one thing; remembers what it was asked."""

    def __init__(self, text):
        super().__init__()
        self.text, self.places = text, []

    def generate_until(self, requests, disable_tqdm=False):
        self.places += [place for question in read_requests(requests) for place in question.places]
        return [self.text] * len(requests)

    def loglikelihood(self, requests):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


@pytest.mark.process
def test_lm_evals_own_model_runs_the_same_suite():
    results = simple_evaluate(
        model="hf",
        model_args={"pretrained": resolve_model("embedded")},
        device="cpu",
        batch_size=12,
        tasks=[SUITE],
        task_manager=manager(repeats=4),
        limit=3,
    )
    scores = summarize(results)["suites"][SUITE]
    assert (scores["n"], scores["problems"]) == (4, 3)
    assert scores["truncated"] is None
    (sample, *_) = results["samples"][SUITE]
    assert len(set(sample["resps"][0])) > 1


@pytest.mark.process
def test_the_stock_command_line_agrees_with_ours(tmp_path):
    """`lm_eval --model hf` without a network: the same problems are solved about equally often."""
    n, limit = 32, 24
    command = [
        *(["unshare", "-rn"] if _can_unshare() else []),
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf"),
        *("--model_args", f"pretrained={resolve_model('embedded')}", "--device", "cpu", "--batch_size", "256"),
        *("--include_path", str(SHIPPED_FOLDER), "--tasks", SUITE, "--limit", str(limit)),
        *("--metadata", json.dumps({"repeats": n}), "--log_samples", "--output_path", str(tmp_path)),
    ]
    environment = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})
    (file,) = Path(tmp_path).rglob("samples_*.jsonl")
    stock = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    theirs = [sum(verdict == "correct" for verdict, *_ in row["filtered_resps"][0]) for row in stock]
    summary = evaluate_model(n=n, limit=limit, output=tmp_path / "ours")
    rows = [json.loads(line) for line in (tmp_path / "ours" / "problems.jsonl").read_text().split("\n") if line]
    assert [row["doc"]["id"] for row in stock] == [row["id"] for row in rows]
    ours = [row["correct"] for row in rows]
    share = (np.array(ours) + theirs) / (2 * n)
    spread = np.sqrt(2 * n * share * (1 - share))
    z = (np.array(ours) - theirs)[spread > 0] / spread[spread > 0]
    assert len(z) > 12
    assert abs(z).max() < 4.5
    assert (z**2).sum() < len(z) + 5 * np.sqrt(2 * len(z))
    assert abs(z.sum()) < 4 * np.sqrt(len(z))
    assert summary["suites"][SUITE]["n"] == n


def _can_unshare():
    command = ["unshare", "-rn", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0
