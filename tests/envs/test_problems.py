import json
import random
from collections import Counter
from itertools import combinations_with_replacement

import pytest

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import ProblemError, arithmetic_problems, load_problems
from aepo_rllib.envs.problems.arithmetic import FAMILY_WEIGHTS
from aepo_rllib.envs.problems.families import FAMILIES, draw_of_split, split_of
from aepo_rllib.envs.problems.families.countdown import solutions
from aepo_rllib.envs.problems.problem import Problem
from aepo_rllib.envs.traces import STYLE_WORDS, draw_trace


@pytest.fixture(scope="module")
def sets():
    return {split: arithmetic_problems(split) for split in ("train", "validation", "test")}


def canonical(problem):
    numbers = sorted(
        int(word.rstrip(".")) for word in problem.text.split("from")[-1].split() if word.rstrip(".").isdigit()
    )
    return problem.family, tuple(numbers), problem.extra.get("target")


def test_splits_share_no_problem_in_any_order_of_its_numbers(sets):
    canon = {split: {canonical(problem) for problem in problems} for split, problems in sets.items()}
    assert not canon["train"] & canon["validation"]
    assert not canon["train"] & canon["test"]
    assert not canon["validation"] & canon["test"]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("source", [*FAMILIES, "arithmetic", "chain", "chain1=1,countdown3=2"])
def test_no_two_problems_to_be_measured_on_differ_in_order_alone(source, split):
    """Sorted numbers and target, read out of the texts, tell apart as many as there are."""
    for seed in (0, 1):
        problems = load_problems(source, split=split, seed=seed)
        keys = set()
        for problem in problems:
            made, _, numbers = problem.text.rstrip(".").rpartition(" from ") if "from" in problem.text else ("", "", "")
            groups = (numbers or problem.text.removeprefix("Add ").rstrip(".")).split(" and ")
            targets = made.removeprefix("Make ").split("*")
            links = zip(targets, (tuple(sorted(map(int, group.split()))) for group in groups), strict=True)
            keys.add((problem.text.split()[0], tuple(sorted(links))))
        assert len(keys) == len(problems)


def test_a_small_familys_lists_hold_all_that_it_has():
    """Sums of three numbers from 2 to 15: 560 in all, counted out."""
    forms = [f"{list(numbers)}={sum(numbers)}" for numbers in combinations_with_replacement(range(2, 16), 3)]
    for split in ("validation", "test"):
        there = [form for form in forms if split_of(form) == split]
        assert len(load_problems("sum3", split=split)) == len(there) < 96
        with pytest.raises(ValueError, match=f"sum3 has fewer {split} problems than the 96 asked for"):
            arithmetic_problems(split, families={"sum3": 1}, size=96)


def test_every_gold_answer_passes_its_own_verifier(sets):
    with Grader() as grader:
        for problems in sets.values():
            grades = grader.grade_batch(problems, [f"\\boxed{{{problem.answer}}}" for problem in problems])
            assert {grade.verdict.value for grade in grades} == {"correct"}


def test_families_come_in_the_stated_proportions(sets):
    counts = Counter(problem.family for problem in sets["train"])
    total = sum(FAMILY_WEIGHTS.values())
    for family, weight in FAMILY_WEIGHTS.items():
        assert counts[family] / len(sets["train"]) == pytest.approx(weight / total, abs=0.01)


def test_sets_are_seeded_and_distinct(sets):
    assert [p.id for p in arithmetic_problems("test")] == [p.id for p in sets["test"]]
    assert [p.id for p in arithmetic_problems("test", seed=1)] != [p.id for p in sets["test"]]
    for problems in sets.values():
        assert len({p.id for p in problems}) == len(problems)
        assert len({p.text for p in problems}) == len(problems)


def test_solver_agrees_with_brute_force_over_python_expressions():
    from itertools import permutations, product

    numbers = (2, 3, 7)
    reachable = set()
    for a, b, c in permutations(numbers):
        for first, second in product("+-*", repeat=2):
            for text in (f"({a}{first}{b}){second}{c}", f"{a}{first}({b}{second}{c})"):
                inner = eval(text[text.index("(") : text.index(")") + 1])
                if 0 <= inner <= 99 and 0 < eval(text) <= 99:
                    reachable.add(eval(text))
    assert set(solutions(numbers)) == reachable
    for target, trees in solutions(numbers).items():
        assert all(eval(str(tree)) == target for tree in trees)


def test_drawn_problems_belong_to_their_split():
    rng = random.Random(0)
    for split in ("train", "validation", "test"):
        for family in FAMILY_WEIGHTS:
            drawn = draw_of_split(FAMILIES[family], split, rng)
            shuffled = drawn._replace(numbers=rng.sample(drawn.numbers, len(drawn.numbers)))
            assert split_of(FAMILIES[family].canonical(shuffled)) == split


def test_style_of_a_trace_is_independent_of_its_correctness():
    """Both kinds of trace use every style word, at rates that differ by sampling noise only."""
    problems = {}
    rng = random.Random(1)
    counts = {True: Counter(), False: Counter()}
    with Grader() as grader:
        traces = [draw_trace("countdown3", rng) for _ in range(4000)]
        for text, trace in traces:
            numbers = tuple(int(word.rstrip(".")) for word in text.split("from")[1].split())
            target = int(text.split()[1])
            problem = problems.setdefault(text, _countdown(text, numbers, target))
            right = grader.grade(problem, trace).verdict.value == "correct"
            counts[right]["traces"] += 1
            counts[right].update(word for word in STYLE_WORDS if word + " " in trace)
    assert counts[False]["traces"] > 500
    closings = [" Answer", " Result", " Done", " Finally", " Thus", " Hence", " Therefore", " Conclusion"]
    for word in closings:
        rates = [counts[right][word] / counts[right]["traces"] for right in (True, False)]
        assert rates[0] == pytest.approx(rates[1], abs=0.05)


def _countdown(text, numbers, target):
    from aepo_rllib.envs.problems import Problem

    return Problem(text, text, "", "countdown", "", {"numbers": numbers, "target": target})


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_jsonl_with_field_map_repeats_and_gsm8k_answers(tmp_path):
    rows = [
        {"question": "2+2?", "final": ["4"], "nr": 1},
        {"question": "  2+2?  ", "final": "4", "nr": 2},
        {"question": "Apples?", "final": "She has 3.\n#### 1,234", "nr": 3},
    ]
    path = write(tmp_path / "mine.jsonl", [json.dumps(row) for row in rows] + [""])
    problems = load_problems(path, fields={"answer": "final", "id": "nr"})
    assert [(p.id, p.text, p.answer) for p in problems] == [("1", "2+2?", "4"), ("3", "Apples?", "1,234")]


def test_nested_fields_of_dapo(tmp_path):
    row = {"prompt": [{"content": "1+1?", "role": "user"}], "reward_model": {"ground_truth": "2"}}
    problems = load_problems(write(tmp_path / "dapo.jsonl", [json.dumps(row)]))
    assert [(p.text, p.answer) for p in problems] == [("1+1?", "2")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "bad.jsonl:2: not JSON"),
        ("[1]", "bad.jsonl:2: not a JSON object but list"),
        ('{"problem": "x"}', "bad.jsonl:2: no answer .*columns: problem"),
        ('{"problem": "", "answer": "1"}', "bad.jsonl:2: problem must be text"),
        ('{"problem": {"a": 1}, "answer": "1"}', "bad.jsonl:2: problem must be text"),
        ('{"problem": "y", "answer": true}', "bad.jsonl:2: answer must be text"),
        ("[" * 100_000, "bad.jsonl:2: not JSON"),
        ('{"problem": "y", "answer": ' + "9" * 5000 + "}", "bad.jsonl:2: "),
    ],
)
def test_malformed_rows_name_file_line_and_reason(tmp_path, line, message):
    path = write(tmp_path / "bad.jsonl", ['{"problem": "1+1?", "answer": "2"}', line])
    with pytest.raises(ProblemError, match=message):
        load_problems(path)


def test_empty_and_missing_sets_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("AEPO_DATA_DIR", raising=False)
    with pytest.raises(ProblemError, match="no problems in it"):
        load_problems(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(ProblemError, match=r"no problems called 'gsm9k'.*not set.*arithmetic"):
        load_problems("gsm9k")
    with pytest.raises(ProblemError, match="no problems called"):
        load_problems(str(tmp_path / "absent.jsonl"))


def test_names_are_found_in_the_data_folder(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    write(tmp_path / "train" / "tiny.jsonl", ['{"problem": "1+1?", "answer": "2"}'])
    monkeypatch.setenv("AEPO_DATA_DIR", str(tmp_path))
    assert load_problems("tiny")[0].answer == "2"
    with pytest.raises(ProblemError):
        load_problems("../tiny")


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (3, 3),
        (4.5, 4.5),
        ("3", 3),
        ("Level 5", 5),
        (" level 2 ", 2),
        ("hard", None),
        ("Level ?", None),
        (True, None),
        (float("nan"), None),
        (10**400, None),
        (None, None),
        ([1], None),
    ],
)
def test_a_level_is_a_number_however_it_is_written(told, level):
    assert Problem(id="1", text="?", answer="1", extra={"level": told}).level == level
