"""Distributions are read from texts that nobody runs, say what they mean, and stay within what they say."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepo_rllib.cli.tune.proposals import combinations, drawn
from aepo_rllib.cli.tune.space import KINDS, Choice, Distribution, nested, parse_distribution

NUMBERS = st.floats(1e-6, 1e6) | st.integers(1, 1000)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.floats(-1e6, 1e6)
    | st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=12)
    | st.sampled_from(["0.5x", "1.0x", "1e-4", "true", "null", "a, b", "x)", "['", "#", "&a", "*a", "!!int"])
)


@st.composite
def ranges(draw: st.DrawFn) -> Distribution:
    low = draw(NUMBERS)
    return KINDS[draw(st.sampled_from(["uniform", "loguniform"]))]((low, low + draw(NUMBERS)))


@st.composite
def whole_ranges(draw: st.DrawFn) -> Distribution:
    low = draw(st.integers(-1000, 1000))
    return KINDS["randint"]((low, low + draw(st.integers(1, 50))))


@st.composite
def steps(draw: st.DrawFn) -> Distribution:
    step, low = draw(st.sampled_from([0.1, 0.25, 1, 3])), draw(st.integers(-20, 20))
    return KINDS["quniform"]((low * step, (low + draw(st.integers(1, 20))) * step, step))


@st.composite
def lists(draw: st.DrawFn) -> Distribution:
    values = draw(st.lists(PLAIN | st.lists(PLAIN, max_size=3), min_size=1, max_size=6, unique_by=repr))
    kept = [
        value for n, value in enumerate(values) if not any(type(v) is type(value) and v == value for v in values[:n])
    ]
    return KINDS[draw(st.sampled_from(["choice", "grid"]))](tuple(kept))


ANY = ranges() | whole_ranges() | steps() | lists()


@given(ANY)
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back_as_it_was(distribution: Distribution) -> None:
    read = parse_distribution(str(distribution))
    assert type(read) is type(distribution)
    assert repr(read.arguments) == repr(distribution.arguments)  # 1 and 1.0, true and 1 are told apart


@given(ranges() | whole_ranges() | steps(), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_draws_and_their_perturbations_stay_within_the_ends(distribution: Distribution, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = distribution.ends()
    slack = 1e-9 * max(abs(low), abs(high))
    value = distribution.draw(rng)
    for _ in range(5):
        assert low - slack <= value <= high + slack
        assert type(value) is type(low)
        value = distribution.perturbed(value, (0.8, 1.2), rng)


@given(lists(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_a_choice_is_perturbed_to_its_neighbour(distribution: Choice, seed: int) -> None:
    rng = np.random.default_rng(seed)
    place = int(rng.integers(len(distribution.arguments)))
    near = distribution.perturbed(distribution.arguments[place], (0.8, 1.2), rng)
    there = [n for n, value in enumerate(distribution.arguments) if repr(value) == repr(near)]
    assert min(abs(n - place) for n in there) <= 1


@pytest.mark.parametrize(
    ("text", "median"),
    [("uniform(2, 6)", 4.0), ("loguniform(1e-4, 1e-2)", 1e-3), ("quniform(0, 10, 0.5)", 5.0), ("randint(0, 101)", 50)],
)
def test_half_of_the_draws_lie_below_the_median_that_the_law_has(text: str, median: float) -> None:
    distribution = parse_distribution(text)
    values = np.array([distribution.draw(np.random.default_rng([7, n])) for n in range(1000)])
    below = (values < median).sum() + (values == median).sum() / 2
    assert abs(below - 500) < 4 * math.sqrt(250)  # four standard deviations of a fair coin


ATTACKS = [
    "__import__('os').system('touch {mark}')",
    "choice(__import__('os').system('touch {mark}'))",
    "choice(!!python/object/apply:os.system ['touch {mark}'])",
    "choice(!!python/name:os.system )",
    "uniform(().__class__.__base__.__subclasses__(), 1)",
    "choice(open('{mark}', 'w'))",
    "(lambda: uniform)(0, 1)",
    "os.system('touch {mark}')",
    "choice(&a [*a])",
    "choice(&a [x, x, x, x, x, x, x], &b [*a, *a, *a, *a, *a, *a], &c [*b, *b, *b, *b, *b, *b], [*c, *c, *c, *c])",
    "choice(" + "[" * 500 + "]" * 500 + ")",
    "choice(" + "1," * 5000 + ")",
    "choice(" + "9" * 1900 + ")",
    "uniform(0, 1" + "0" * 400 + ")",
    "uniform(.nan, 1)",
    "uniform(0, .inf)",
    "loguniform(0, 1)",
    "uniform(true, 2)",
    "choice(2020-01-01)",
    "choice({{a: 1}})",
    "choice(? a)",
    "choice(1\n# 2)",
    "choice]1(",
    "choice()",
    "",
    "(",
    "grid",
    "choice(1, 1)",
]


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_nothing_that_is_written_is_run(tmp_path: Path, text: str) -> None:
    mark = tmp_path / "mark"
    complaint = ""
    try:
        values = parse_distribution(text.format(mark=mark)).arguments
    except ValueError as error:
        complaint, values = str(error), ()
    assert len(complaint) < 1000
    assert complaint or all(isinstance(value, str | int) for value in values)  # texts, to be refused as such later
    assert not mark.exists()


SIGNS = ["(", ")", "[", "]", "{", "}", ",", "1", "-", ".", "e5", "x", "'", '"', "#", "&a", "*a", "!", "!!int", ":"]
WORDS = ["?", "|", ">", "\\", "%", "null", "choice", "uniform", " ", "\n", "\x00", "\u2028"]
FRAGMENTS = st.sampled_from([*SIGNS, *WORDS])
INSIDE = st.lists(FRAGMENTS, max_size=25).map("".join)


@given(INSIDE | INSIDE.map("choice({})".format))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_distribution_or_refused_in_a_line(text: str) -> None:
    with contextlib.suppress(ValueError):
        distribution = parse_distribution(text)
        assert repr(parse_distribution(str(distribution))) == repr(distribution)


def test_a_trial_draws_the_same_whatever_the_others_are() -> None:
    space = {"a": parse_distribution("uniform(0, 1)"), "b": parse_distribution("choice(x, y, z)")}
    fifth = drawn(space, 3, 5)
    assert fifth == drawn(space, 3, 5) != drawn(space, 3, 4)
    assert fifth != drawn(space, 4, 5)


def test_a_grid_has_every_combination_once_the_last_key_fastest() -> None:
    space = {"a": parse_distribution("grid(1, 2)"), "b": parse_distribution("randint(0, 2)")}
    assert [tuple(each.values()) for each in combinations(space, space)] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_dots_in_keys_reach_into_mappings() -> None:
    assert nested({"lr": 1, "env_config.template": "boxed", "env_config.a.b": 2}) == {
        "lr": 1,
        "env_config": {"template": "boxed", "a": {"b": 2}},
    }
