"""Mixes of problem sources: how they are written, that they come in proportion, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.envs.env_arguments import absolute_arguments
from aepo_rllib.envs.problems import Problem, ProblemError, is_procedural, load_problems
from aepo_rllib.envs.problems.mixes import MIXES, absolute_source, as_mix, families_of, mixed

NAMES = st.text("abcdefgh123_/.:-", min_size=1, max_size=12)


def write(path: Path, count: int, **columns: str) -> str:
    rows = [
        {"problem": f"{path.stem} {number}?", "answer": str(number), "id": str(number)} | columns
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def families(source: object, split: str = "train") -> Counter[str]:
    return Counter(problem.family for problem in load_problems(source, split=split))  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.integers(1, 1000), min_size=1, max_size=5))
def test_a_text_and_a_mapping_say_the_same(weights: dict[str, int]) -> None:
    assert as_mix(",".join(f"{name}={weight}" for name, weight in weights.items())) == as_mix(weights) == weights


def test_a_weight_is_one_where_none_is_given_and_a_single_name_is_no_mix() -> None:
    assert as_mix("countdown3,chain=2") == {"countdown3": 1, "chain": 2}
    assert as_mix("countdown3") is None
    assert as_mix("org/name:main") is None


def test_a_file_that_is_there_is_no_mix_whatever_its_name(tmp_path: Path) -> None:
    assert len(load_problems(write(tmp_path / "a=1,b.jsonl", 3))) == 3


def test_families_come_in_proportion_and_in_turn() -> None:
    problems = load_problems("countdown3=2,sum4=1", split="validation")
    assert [problem.family for problem in problems[:6]] == ["countdown3", "countdown3", "sum4"] * 2
    assert families({"countdown3": 2, "sum4": 1}, "validation") == Counter(countdown3=86, sum4=42)


def test_a_name_for_several_families_shares_its_weight_among_them() -> None:
    assert families_of({"countdown3": 2, "chain": 1}) == {
        "countdown3": 8,
        "chain1": 1,
        "chain2": 1,
        "chain3": 1,
        "chain4": 1,
    }
    assert families_of({"arithmetic": 3}) == MIXES["arithmetic"]
    assert families_of({"arithmetic": 9, "countdown3": 1}) == {"countdown3": 6, "countdown4": 1, "sum3": 2, "sum4": 1}


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["arithmetic", "chain", "countdown3", "x"]), st.integers(1, 9), min_size=1))
def test_shares_are_exact(weights: dict[str, int]) -> None:
    found, total = families_of(weights), sum(weights.values())
    for family, weight in found.items():
        share = sum(
            w * MIXES.get(name, {name: 1}).get(family, 0) / sum(MIXES.get(name, {name: 1}).values())
            for name, w in weights.items()
        )
        assert weight / sum(found.values()) == pytest.approx(share / total)


def test_the_default_mix_by_its_name_is_the_set_of_that_name() -> None:
    assert load_problems("arithmetic=1", split="test") == load_problems("arithmetic", split="test")


def test_files_and_families_mix_and_keep_their_verifiers(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", 50)
    problems = load_problems({own: 1, "countdown3": 2, "sum4": 1}, split="test", verifier="math-numeric")
    counts = Counter((problem.family, problem.verifier) for problem in problems)
    assert counts == {("own", "math-numeric"): 32, ("countdown3", "countdown"): 64, ("sum4", "math"): 32}
    assert len({problem.id for problem in problems}) == len(problems)
    numbers = [int(problem.answer) for problem in problems if problem.family == "own"]
    assert numbers == sorted(numbers)
    assert numbers != list(range(32))
    again = load_problems({own: 1, "countdown3": 2, "sum4": 1}, split="test", verifier="math-numeric")
    assert again == problems


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 4)), min_size=1, max_size=4), st.integers(0, 3))
def test_no_problem_comes_twice_and_the_shortest_set_says_how_many(sets: list[tuple[int, int]], seed: int) -> None:
    """Ids that two sets share are told apart."""
    problems = {f"set{i}": [Problem(str(n), f"{i} {n}", "1") for n in range(size)] for i, (size, _) in enumerate(sets)}
    weights = {f"set{i}": weight for i, (_, weight) in enumerate(sets)}
    rounds = min(size // weight for size, weight in sets)
    if rounds == 0:
        with pytest.raises(ProblemError, match=r"set\d has only \d problems, fewer than its weight"):
            mixed(problems, weights, seed)
        return
    found = mixed(problems, weights, seed)
    assert Counter(problem.family for problem in found) == Counter({n: w * rounds for n, w in weights.items()})
    assert len({problem.text for problem in found}) == len({problem.id for problem in found}) == len(found)


def test_a_problem_in_two_sets_is_taken_once() -> None:
    one = [Problem("a", "1 + 1?", "2"), Problem("b", "1 + 2?", "3")]
    assert [
        problem.text for problem in mixed({"x": one, "y": [one[0], Problem("c", "2 + 2?", "4")]}, {"x": 1, "y": 1}, 0)
    ] in (
        ["1 + 1?", "2 + 2?"],
        ["1 + 2?", "2 + 2?"],
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "countdwn3=2,chain",
            r"no problems called 'countdwn3' \(in the mix countdwn3=2,chain\).*did you mean countdown3",
        ),
        ("chian", "no problems called 'chian'.*did you mean chain"),
        ("chain=0", "the weight of chain must be a whole number from 1 to 1000, not 0"),
        ("chain=two", "the weight of chain must be a whole number .* not 'two'"),
        ("chain=1.5", "the weight of chain must be a whole number .* not '1.5'"),
        ({"chain": True}, "the weight of chain must be a whole number .* not True"),
        ({"chain": None}, "the weight of chain .* not None"),
        ({3: 1}, "3 is no name of a source"),
        ("chain,,sum3", "'' is no name of a source"),
        ("chain,chain=2", "chain comes twice; add up its weights"),
        ({}, "a mix needs sources"),
        ("missing.jsonl=1,chain=1", "no problems called 'missing.jsonl'"),
    ],
)
def test_what_is_no_mix_is_refused_before_anything_is_read(
    source: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aepo_rllib.envs.problems.sources._load", lambda *args: pytest.fail("problems were read"))
    with pytest.raises(ProblemError, match=message):
        load_problems(source)  # type: ignore[arg-type]


def test_a_mix_has_splits_of_its_own_where_all_of_it_has(tmp_path: Path) -> None:
    assert is_procedural("chain=2,sum3")
    assert not is_procedural({write(tmp_path / "own.jsonl", 1): 1, "chain": 1})


def test_rules_of_ones_own_choice_are_for_files_alone() -> None:
    with pytest.raises(ValueError, match="has verifiers of its own"):
        load_problems("chain=1,sum3=1", verifier="math")


def test_paths_in_a_mix_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own.jsonl", 1)
    expected = {str(tmp_path / "own.jsonl"): 2, "chain": 1, f"{tmp_path}/mine.py:Family": 1}
    assert absolute_source("own.jsonl=2,chain,mine.py:Family") == expected
    assert absolute_arguments({"problems": expected, "split": "train"}) == {"problems": expected, "split": "train"}
    assert absolute_source("chain") == "chain"
