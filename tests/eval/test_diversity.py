"""How many different answers, and ways to correct ones, the samples of an evaluation hold."""

import json
import shutil
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from click.testing import CliRunner

from aepo_rllib.cli.compare import compare_command
from aepo_rllib.envs import load_problems
from aepo_rllib.envs.content_path import content_path
from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.grading.literals import spelling
from aepo_rllib.envs.tally import Tally
from aepo_rllib.eval.diversity import MEASURES, path_diversity
from aepo_rllib.eval.passk import macro_average, pass_at_k_curve
from aepo_rllib.eval.regrading import regrade
from aepo_rllib.eval.reports.differences import compare
from aepo_rllib.eval.reports.evaluations import read_evaluations
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.eval.scoring import diversity, grade_samples

SUITE, N, LIMIT = "aepo_arithmetic", 8, 9
AT_K = [name for name, measure in MEASURES.items() if not measure.one]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    return evaluate_model(n=N, limit=LIMIT, seed=1, output=folder), folder


@pytest.fixture(scope="module")
def graded(evaluated):
    """By problem: (answer, whether it is correct, path) of each sample in the store, by hand."""
    (store,) = (evaluated[1] / "samples").glob("*.jsonl")
    rows = [row for line in store.read_text().splitlines() if "text" in (row := json.loads(line))]
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    problems = load_problems("arithmetic", split="test")[:LIMIT]
    by_problem = []
    with Grader() as grader:
        for prompt, problem in zip(prompts, problems, strict=True):
            texts = [row["text"] for row in rows if row["prompt"] == prompt]
            grades = grader.grade_batch([problem] * len(texts), texts)
            by_problem.append(
                [
                    (spelling(grade.answer or ""), grade.verdict.value == "correct", content_path(text))
                    for grade, text in zip(grades, texts, strict=True)
                ]
            )
    return by_problem


def by_subsets(graded, k, kinds):
    """Mean over problems of the mean over all k-subsets."""
    return np.mean([np.mean([len(kinds(subset)) for subset in combinations(samples, k)]) for samples in graded])


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_a_real_evaluation_agrees_with_all_subsets_of_its_samples(evaluated, graded, k):
    kinds = {
        "answers": lambda subset: {(answer, right) for answer, right, _ in subset if answer},
        "correct_answers": lambda subset: {answer for answer, right, _ in subset if right},
        "correct_paths": lambda subset: {path for _, right, path in subset if right},
    }
    found = evaluated[0]["suites"][SUITE]["diversity"]
    for name in AT_K:
        assert found[name][str(k)]["mean"] == pytest.approx(by_subsets(graded, k, kinds[name])), name
    assert found["correct_paths"]["8"]["mean"] > found["correct_answers"]["8"]["mean"]


def test_its_entropies_are_those_of_its_samples(evaluated, graded):
    found = evaluated[0]["suites"][SUITE]["diversity"]
    shares = [np.array([*Counter(answer for answer, *_ in samples if answer).values()]) / N for samples in graded]
    assert all(share.sum() == 1 for share in shares)  # each has stated an answer
    assert found["answer_entropy_plug_in"]["mean"] == pytest.approx(-np.mean([p @ np.log(p) for p in shares]))
    assert found["answer_entropy"]["mean"] > found["answer_entropy_plug_in"]["mean"] > 0
    differ = [
        np.mean([a != b for a, b in combinations([path for _, right, path in samples if right], 2)])
        for samples in graded
        if sum(right for _, right, _ in samples) > 1
    ]
    assert found["path_diversity"]["mean"] == pytest.approx(np.mean(differ))
    assert found["path_diversity"]["problems"] == len(differ)


def test_regrading_and_lm_evals_own_results_say_the_same(evaluated, tmp_path):
    summary, folder = evaluated
    found = summary["suites"][SUITE]["diversity"]
    again = regrade(folder, output=tmp_path / "again")["suites"][SUITE]
    assert again["diversity"] == found
    stock = json.loads((folder / "results.json").read_text())["results"][SUITE]
    for name in ("correct_answers", "correct_paths"):
        assert stock[f"distinct_{name}@4,graded"] == pytest.approx(found[name]["4"]["mean"])
    assert stock["answer_entropy,graded"] == pytest.approx(found["answer_entropy"]["mean"])
    assert stock["answer_entropy_stderr,graded"] == pytest.approx(found["answer_entropy"]["se"])


def test_where_one_answer_is_correct_its_number_is_pass_at_k_with_the_same_interval():
    counts = [0, 3, 8, 1, 0, 8]
    tallies = [Tally(8, (c,) if c else (), (8 - c,) if c < 8 else (), (c,) if c else ()) for c in counts]
    ours, theirs = MEASURES["correct_answers"].curve(tallies, [1, 2, 8]), pass_at_k_curve(8, counts, [1, 2, 8])
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """20 problems whose correct samples go one of 30 ways, some much likelier than others."""
    rng, trials, ks = np.random.default_rng(0), 150, (1, 4)

    def laws(size):
        return rng.beta(1, 1, (size, 1)) * rng.dirichlet(np.full(30, 0.1), size)

    truth = (1 - (1 - laws(20_000)[None]) ** np.array(ks)[:, None, None]).sum(-1).mean(-1)
    covered = []
    for _ in range(trials):
        drawn = rng.multinomial(16, np.c_[law := laws(20), 1 - law.sum(1)])[:, :-1]
        tallies = [Tally(16, (), (), tuple(int(count) for count in row if count)) for row in drawn]
        curve = MEASURES["correct_paths"].curve(tallies, ks)
        covered.append((curve.low <= truth) & (truth <= curve.high))
    assert (np.mean(covered, axis=0) >= 0.9).all()


def test_with_fewer_than_k_samples_a_problem_leaves_the_mean_undefined():
    tallies = [Tally(4, (2,), (1, 1), (1, 1)), Tally(1, (), (), ())]
    curve = MEASURES["answers"].curve(tallies, [1, 4])
    assert curve.mean[0] == 0.5
    assert np.isnan(curve.mean[1])
    assert np.isnan(MEASURES["answer_entropy"].curve(tallies, [1]).mean).all()
    assert path_diversity(tallies)[0] == 1
    assert path_diversity(tallies[1:]) is None


def test_a_group_is_the_mean_of_its_suites_and_its_interval_stays_within_the_bounds():
    suites = [[Tally(8, (), (), (1,) * paths) for paths in (0, 5, 8)], [Tally(8, (), (), (2, 1))] * 2]
    measure = MEASURES["correct_paths"]
    tables = [measure.table(tallies, [1, 8]) for tallies in suites]
    macro = macro_average(tables, [1, 8], bounds_S=[measure.bounds(tallies, [1, 8]) for tallies in suites])
    np.testing.assert_allclose(macro.mean, [(13 / 24 + 3 / 8) / 2, (13 / 3 + 2) / 2])
    assert (macro.low >= 0).all()
    assert 2 < macro.high[1] <= 5


def test_metrics_of_one_problem():
    docs = [{"id": "a", "problem": "", "answer": "7", "verifier": "math", "family": "", "extra": "{}"}]
    texts = [r"3+4 is \boxed{7}", r"3 + 4 = \boxed{7}", r"14/2 is \boxed{7}", r"\boxed{8}"]
    (samples,) = grade_samples([texts], docs)
    assert [bool(sample.path) for sample in samples] == [True, True, True, False]
    found = diversity(["7"], [[list(sample) for sample in samples]], k=[4, 8])
    assert (found["distinct_correct_answers@4"], found["distinct_correct_paths@4"]) == (1, 2)
    assert found["answer_entropy"] == pytest.approx(0.75 / 3 + 0.25 * (1 + 1 / 2 + 1 / 3))
    assert np.isnan(found["distinct_correct_paths@8"])


def test_evaluations_are_compared_problem_by_problem(evaluated, tmp_path):
    other = evaluate_model(n=N, limit=LIMIT, seed=1, temperature=0.3, output=tmp_path / "cold")
    (comparison,) = compare(read_evaluations([evaluated[1], tmp_path / "cold"]))
    for each in comparison.diversity:
        mine, theirs = (
            [found] if "mean" in (found := summary["suites"][SUITE]["diversity"][each.measure]) else found.values()
            for summary in (evaluated[0], other)
        )
        gains = [b["mean"] - a["mean"] for a, b in zip(mine, theirs, strict=True)]
        (difference,) = each.differences.values()
        np.testing.assert_allclose(difference.mean, gains, atol=1e-12)
        assert (difference.low <= difference.mean).all()
        assert (difference.mean <= difference.high).all()
    folders = [str(evaluated[1]), str(tmp_path / "cold")]
    shown = CliRunner().invoke(compare_command, [*folders, "-o", str(tmp_path / "out")])
    assert "paths@8" in shown.output
    written = json.loads((tmp_path / "out" / "compare.json").read_text())[SUITE]["diversity"]
    assert list(written) == list(MEASURES)


def test_reports_of_older_versions_are_read_and_the_one_that_cannot_tell_is_named(evaluated, tmp_path):
    new, old = (shutil.copytree(evaluated[1], tmp_path / name) for name in ("new", "old"))
    rows = [json.loads(line) for line in (old / "problems.jsonl").read_text().splitlines()]
    for row in rows:
        del row["counts"]
    (old / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = json.loads((old / "passk.json").read_text())
    del summary["suites"][SUITE]["diversity"]
    (old / "passk.json").write_text(json.dumps(summary))
    shown = CliRunner().invoke(compare_command, [str(new), str(old)])
    assert shown.exit_code == 0, shown.output
    assert "no diversity in the reports of old: `aepo regrade` adds it" in " ".join(shown.output.split())
    assert "paths@" not in shown.output
    regrade(old)
    assert "paths@8" in CliRunner().invoke(compare_command, [str(new), str(old)]).output
