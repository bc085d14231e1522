import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from aepo_rllib.envs import Verdict, load_problems
from aepo_rllib.envs.grading import Grader
from aepo_rllib.eval.data import as_doc, as_problem
from aepo_rllib.eval.outcomes import read_outcomes, summarize
from aepo_rllib.eval.passk import pass_at_k
from aepo_rllib.eval.scoring import grade_samples, no_answer, not_judged, pass_at_ks
from aepo_rllib.eval.suites import TASKS_FOLDER, suite_names
from aepo_rllib.hf import resolve_model

SUITE = "aepo_arithmetic"


def manager(**metadata):
    return TaskManager(include_path=str(TASKS_FOLDER), include_defaults=False, metadata=metadata)


@pytest.mark.parametrize("suite", suite_names())
def test_every_suite_loads_under_its_files_name(suite):
    task = manager(repeats=3).load([suite])["tasks"][suite]
    assert task.config.repeats == 3
    assert task.config.generation_kwargs["do_sample"] is True
    assert task.config.generation_kwargs["until"] == []
    assert task.VERSION is not None


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
    samples = [["correct", "1", None], ["wrong", "2", None], ["no_answer", "", None], ["timed_out", "3", None]]
    assert pass_at_ks(["1"], [samples]) == {"pass@1": 0.25, "pass@2": 0.5, "pass@4": 1.0}
    assert pass_at_ks(["1"], [samples], k=[3]) == {"pass@3": pass_at_k(4, 1, 3)}
    assert no_answer(["1"], [samples]) == 0.25
    assert not_judged(["1"], [samples]) == 0.25
    with pytest.raises(ValueError, match="pass@8"):
        pass_at_ks(["1"], [samples], k=[8])


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
    scores = summarize(results)[SUITE]
    assert (scores["n"], scores["problems"]) == (4, 3)
    assert scores["truncated"] is None
    (sample, *_) = results["samples"][SUITE]
    assert len(set(sample["resps"][0])) > 1
