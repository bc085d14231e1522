"""Chains of Countdown problems: levels, splits, traces, and what the rule for Countdown makes of them."""

from __future__ import annotations

import json
import random
import re
from math import prod

import pytest

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import arithmetic_problems, load_problems
from aepo_rllib.envs.problems.families import draw_of_split, find_family, split_of
from aepo_rllib.envs.problems.families.chain import Chain
from aepo_rllib.envs.traces import draw_trace
from aepo_rllib.models.embedded.tokenizer import build_tokenizer

LEVELS = (1, 2, 3, 4)
BOX = re.compile(r"\\boxed\{([^}]*)\}")
STEP = re.compile(r" (?:=|gives|makes|is|equals|yields) ")


def links_of(text: str) -> list[tuple[tuple[int, ...], int]]:
    """Sorted numbers and target of every link, read out of the problem's text alone."""
    targets, numbers = re.fullmatch(r"Make ([\d*]+) from (.+)\.", text).groups()  # type: ignore[union-attr]
    shown = [tuple(sorted(map(int, part.split()))) for part in numbers.split(" and ")]
    return list(zip(shown, map(int, targets.split("*")), strict=True))


def right(answer: str, numbers: list[int], target: int) -> bool:
    """By Python's own arithmetic."""
    return sorted(map(int, re.findall(r"\d+", answer))) == sorted(numbers) and eval(answer) == target


def traces(level: int, count: int, noise: float, guesses: float = 0.0) -> list[tuple[bool, str]]:
    family, rng, found = Chain(level), random.Random(level), []
    for _ in range(count):
        drawn = draw_of_split(family, "train", rng)
        extra, trace = family.problem(drawn).extra, family.trace(drawn, rng, noise, guesses)
        found.append((right(BOX.findall(trace)[-1], extra["numbers"], extra["target"]), trace))
    return found


def test_no_link_of_a_training_problem_is_in_a_trace(trained: set[tuple[tuple[int, ...], int]]) -> None:
    """Or training would find again what the model has read."""
    rng = random.Random(0)
    read = {link for _ in range(1500) for link in links_of(draw_trace("chain2", rng)[0])}
    assert len(read) > 800
    assert not read & trained


@pytest.fixture(scope="module")
def trained() -> set[tuple[tuple[int, ...], int]]:
    """Links of training problems of all levels: most of those that there are."""
    return {
        link for problem in arithmetic_problems(families={"chain4": 1}, size=1500) for link in links_of(problem.text)
    }


@pytest.mark.parametrize("level", LEVELS)
def test_no_link_of_a_problem_is_in_another_split_at_any_level(
    level: int, trained: set[tuple[tuple[int, ...], int]]
) -> None:
    for split in ("train", "validation", "test"):
        problems = arithmetic_problems(split, families={f"chain{level}": 1}, size=90)
        links = {link for problem in problems for link in links_of(problem.text)}
        assert {split_of(f"{list(numbers)}={target}") for numbers, target in links} == {split}
        assert bool(links & trained) == (split == "train")


@pytest.mark.parametrize("level", LEVELS)
def test_a_chain_is_a_countdown_problem_whose_target_is_the_product(level: int) -> None:
    problems = load_problems(f"chain{level}", split="test")
    assert len(problems) == 96
    for problem in problems:
        links = links_of(problem.text)
        assert (problem.level, len(links)) == (level, level)
        assert problem.extra["target"] == prod(target for _, target in links)
        assert sorted(problem.extra["numbers"]) == sorted(number for numbers, _ in links for number in numbers)
        assert right(problem.answer, list(problem.extra["numbers"]), problem.extra["target"])
    with Grader() as grader:
        grades = grader.grade_batch(problems, [f"\\boxed{{{problem.answer}}}" for problem in problems])
    assert {grade.verdict.value for grade in grades} == {"correct"}


def test_one_name_means_all_levels_in_equal_shares() -> None:
    levels = [problem.level for problem in load_problems("chain", split="test")]
    assert levels == [1, 2, 3, 4] * 24


def test_a_problem_set_has_a_level_only_where_its_problems_have_one() -> None:
    assert {problem.level for problem in load_problems("countdown3", split="test")} == {None}


def test_chains_are_drawn_by_the_generator_alone() -> None:
    drawn = [[draw_of_split(Chain(3), "test", random.Random(seed)) for _ in range(3)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("level", LEVELS)
def test_without_noise_every_trace_is_right_and_shows_every_step(level: int) -> None:
    for correct, trace in traces(level, 100, noise=0.0):
        assert correct
        steps = re.findall(r"(\d+[-+*]\d+) (?:=|gives|makes|is|equals|yields) (\d+)", trace)
        assert len(steps) == 2 * level
        assert all(eval(left) == int(value) for left, value in steps)


@pytest.mark.parametrize(("level", "noise", "guesses"), [(1, 0.3, 0.0), (2, 0.3, 0.0), (3, 0.2, 0.2), (4, 0.1, 0.0)])
def test_each_link_goes_wrong_with_the_stated_probability(level: int, noise: float, guesses: float) -> None:
    """A chain is right when all of its links are; chance makes a wrong product right less than once in a hundred."""
    found, count = traces(level, 1000, noise, guesses), 1000
    expected = ((1 - guesses) * (1 - noise)) ** level
    deviation = (expected * (1 - expected) / count) ** 0.5
    assert sum(correct for correct, _ in found) / count == pytest.approx(expected, abs=4 * deviation + 0.01)


def test_guesses_are_links_without_steps() -> None:
    shown = sum(len(STEP.findall(trace)) for _, trace in traces(3, 500, noise=0.0, guesses=0.4))
    assert shown / (500 * 3 * 2) == pytest.approx(0.6, abs=0.04)


def test_the_embedded_tokenizer_has_every_word_and_a_chain_fits() -> None:
    tokenizer = build_tokenizer()
    rng = random.Random(0)
    for level in LEVELS:
        for _ in range(100):
            drawn = draw_of_split(find_family(f"chain{level}"), "train", rng)
            text, trace = Chain(level).problem(drawn).text, Chain(level).trace(drawn, rng, 0.3, 0.3)
            ids = [tokenizer(part)["input_ids"] for part in (text, trace)]
            assert tokenizer.unk_token_id not in (*ids[0], *ids[1])
            assert tokenizer.decode(ids[1]) == trace
            assert len(ids[1]) < 30 * level


def test_links_in_another_order_are_the_same_problem() -> None:
    drawn = draw_of_split(Chain(3), "test", random.Random(0))
    other = tuple(link._replace(numbers=link.numbers[::-1]) for link in reversed(drawn))
    assert Chain(3).canonical(drawn) == Chain(3).canonical(other)
    assert Chain(3).split(other) == "test"
    assert json.dumps(dict(Chain(3).problem(other).extra))
