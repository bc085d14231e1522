"""Procedural families: the embedded ones draw what they have always drawn, and a user's own is one like them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aepo_rllib.envs.env_arguments import absolute_arguments
from aepo_rllib.envs.problems import Family, Problem, ProblemError, arithmetic_problems, is_procedural, load_problems
from aepo_rllib.envs.problems.families import FAMILIES, find_family
from aepo_rllib.envs.traces import draw_trace

ROOT = Path(__file__).parents[2]
STORED = json.loads((ROOT / "tests/golden/procedural.json").read_text())
DOUBLING = """
from aepo_rllib.envs.problems import Family, Problem

class Doubling(Family[int]):
    def draw(self, rng):
        return rng.randint(1, 60)

    def problem(self, number):
        return Problem(f"doubling:{number}", f"Add {number} {number}.", str(2 * number))

class Shifted(Doubling):
    def __init__(self, shift):
        self.shift = shift

class Unfinished(Family[int]):
    def draw(self, rng):
        return 0

class Same(Doubling):
    def draw(self, rng):
        return 7

class Texts(Doubling):
    def problem(self, number):
        return f"Add {number} {number}."

    def canonical(self, number):
        return str(number)

instance = Shifted(3)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own_families.py"
    path.write_text(DOUBLING)
    return path


def digest(rows: Iterable[Any]) -> str:
    return hashlib.sha256("\n".join(json.dumps(row, sort_keys=True) for row in rows).encode()).hexdigest()[:16]


def fields(problem: Problem) -> dict[str, Any]:
    return problem.__dict__ | {"extra": dict(problem.extra)}


@pytest.mark.parametrize("name", STORED["problems"])
def test_problems_are_the_ones_they_have_always_been(name: str) -> None:
    source, split, seed = name.split()
    problems = load_problems(source, split=split, seed=int(seed))
    assert [len(problems), digest(map(fields, problems))] == STORED["problems"][name]


@pytest.mark.parametrize("family", FAMILIES)
def test_traces_are_the_ones_they_have_always_been(family: str) -> None:
    rng = random.Random(3)
    assert digest([draw_trace(family, rng) for _ in range(1000)]) == STORED["traces"][family]


def test_families_drawn_in_turn_share_a_generator_as_they_always_have() -> None:
    rng = random.Random(0)
    weights = {"countdown3": 6, "countdown4": 1, "sum3": 1, "sum4": 1}
    drawn = rng.choices(list(weights), list(weights.values()), k=1000)
    assert digest([draw_trace(family, rng) for family in drawn]) == STORED["traces"]["mixed"]


def test_a_family_of_ones_own_has_seeded_disjoint_splits(file: Path) -> None:
    name = f"{file}:Doubling"
    sets = {split: load_problems(name, split=split) for split in ("train", "validation", "test")}
    numbers = {split: {int(problem.answer) // 2 for problem in problems} for split, problems in sets.items()}
    assert set.union(*numbers.values()) == set(range(1, 61))
    assert sum(map(len, numbers.values())) == 60
    assert len(numbers["train"]) > 40
    assert {problem.family for problem in sets["train"]} == {"Doubling"}
    again = load_problems(name, split="train", seed=1)
    assert [p.id for p in again] != [p.id for p in sets["train"]]
    assert {p.id for p in again} == {p.id for p in sets["train"]}


def test_own_and_embedded_families_mix_by_weight(file: Path) -> None:
    problems = arithmetic_problems("train", families={"sum3": 2, f"{file}:Doubling": 1}, size=30)
    assert [problem.family for problem in problems[:6]] == ["sum3", "sum3", "Doubling"] * 2


def test_an_instance_serves_as_well_as_a_class(file: Path) -> None:
    assert load_problems(f"{file}:instance")[0].family == "Shifted"


def test_a_module_in_the_working_folder_is_found_and_a_relative_path_made_absolute(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert isinstance(find_family("own_families:Doubling"), Family)
    named = absolute_arguments({"problems": "own_families.py:Doubling", "verifier": None})
    assert named == {"problems": f"{file}:Doubling", "verifier": None}
    assert find_family("own_families.py:Doubling") is find_family(f"{file}:Doubling")


def test_a_trace_is_the_answer_where_a_family_writes_no_other(file: Path) -> None:
    text, trace = draw_trace(f"{file}:Doubling", random.Random(0))
    number = int(text.split()[1])
    assert (text, trace) == (f"Add {number} {number}.", f" \\boxed{{{2 * number}}}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{file}:Doublin", "has no family Doublin; did you mean Doubling"),
        ("{file}:Shifted", r"cannot be made without arguments \(.*shift"),
        ("{file}:Unfinished", "cannot be made without arguments .*abstract"),
        ("{file}:DOUBLING", "has no family DOUBLING"),
        ("{file}:Problem", "Problem.>, and no aepo_rllib.envs.problems.Family"),
        ("no_such_module:Doubling", r"problem family 'no_such_module:Doubling': .*ModuleNotFoundError"),
        ("missing.py:Doubling", "there is no file .*missing.py"),
    ],
)
def test_what_is_no_family_is_refused_with_its_name(file: Path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_problems(name.format(file=file))


def test_a_family_that_draws_no_problem_or_none_of_a_split_is_refused_and_does_not_hang(file: Path) -> None:
    assert [problem.id for problem in load_problems(f"{file}:Same", split="train")] == ["doubling:7"]
    with pytest.raises(ProblemError, match="Same: of 10000 problems that it drew none is for test"):
        load_problems(f"{file}:Same", split="test")
    with pytest.raises(ProblemError, match=r"Texts: 'Add \d+ \d+.' is no Problem"):
        load_problems(f"{file}:Texts")


def test_the_configuration_of_a_dataset_is_no_family() -> None:
    assert not is_procedural("openai/gsm8k:main")
    assert not is_procedural("my-set:v1.5")
    assert is_procedural("package.module:Family")
