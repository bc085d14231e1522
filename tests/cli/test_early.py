"""What is refused before torch and Ray are loaded is refused for the reason that the whole check has, and in time."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from click.shell_completion import BashComplete
from hypothesis import given
from hypothesis import strategies as st

from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.cli.early import TABLE, check_early
from aepo_rllib.cli.main import cli
from aepo_rllib.cli.settings import RUN_OPTIONS, build, parse_assignments
from aepo_rllib.options_table import as_json
from aepo_rllib.support.key_names import ELSEWHERE
from aepo_rllib.support.options import Option
from tests.cli.test_values import CASES

SECONDS = 2.0
"""Torch and Ray alone take longer; a quiet machine answers in 0.3 s."""


def test_the_table_is_made_from_the_declarations():
    assert TABLE.read_text() == as_json(), "run: make docs"


def early(assignments: str) -> str:
    """What is said early; nothing where it passes."""
    try:
        check_early(parse_assignments(assignments.split()))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("assignments", "complaint"), CASES)
def test_a_reason_that_is_given_early_is_the_one_that_is_given_late(assignments, complaint):
    assert complaint in (early(assignments) or complaint)


def test_most_mistakes_are_told_early():
    assert sum(bool(early(assignments)) for assignments, _ in CASES) > 0.6 * len(CASES)


@pytest.mark.parametrize("method", ALGORITHMS)
def test_what_is_right_passes(method):
    config = ALGORITHMS[method]()
    check_early({"algo": method, **{name: getattr(config, name) for name in config.declared()}})


VALUES = st.sampled_from([None, True, 0, 1, -1, 2.5, 1e300, float("nan"), "x", "auto", "", [], [1, 2], {}, {"a": 1}])


@given(st.sampled_from(sorted(ALGORITHMS)), st.data(), VALUES)
def test_an_option_takes_early_what_it_takes(method, data, value):
    declared: dict[str, Option] = ALGORITHMS[method].options()
    name = data.draw(st.sampled_from(sorted(declared)))
    reasons = []
    for check in (lambda: declared[name].check(name, value), lambda: check_early({"algo": method, name: value})):
        try:
            check()
            reasons.append("")
        except ValueError as error:
            reasons.append(str(error))
    late, early = reasons
    if name not in ("engine", "controller", "model_path", "env_config") and declared[name].parse is None:
        assert early == late


def test_names_of_other_libraries_lead_to_ours():
    ours = {*RUN_OPTIONS, *(name for config in ALGORITHMS.values() for name in config.options())}
    for name, cure in ELSEWHERE.items():
        first = cure.split()[0].strip(",").partition("=")[0].partition(".")[0]
        assert first in ours or cure.startswith(("--", "tensorboard/")), name


WRONG = [
    ["trian"],
    ["train", "--algo", "gppo"],
    ["train", "--target-entropy", "abc"],
    ["train", "--steps", "0"],
    ["train", "--set", "learning_rate=1e-4"],
    ["train", "--set", "lr=abc"],
    ["train", "--set", "controller=swich"],
    ["train", "--engine", "vlm"],
    ["train", "--model", "./nomodel"],
    ["train", "--problems", "nofile.jsonl"],
    ["train", "--set", "env_config.template=boxd"],
    ["train", "--algo", "mine.py:Config"],
    ["train", "--set", "env_config.problms=x"],
    ["train", "--model", "embeded"],
    ["plan", "--set", "group_sise=3"],
    ["methods", "gppo"],
    ["doctor", "./nomodel"],
]


@pytest.mark.process
@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_mistake_is_told_at_once(arguments, tmp_path):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "aepo_rllib.cli.main", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert "loading" not in done.stderr
    assert time.monotonic() - began < SECONDS


@pytest.mark.process
def test_an_options_value_may_come_from_the_environment(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "aepo_rllib.cli.main", "train"],
        cwd=tmp_path,
        env={"AEPO_TRAIN_STEPS": "0", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "steps=0 must be a whole number of at least 1" in done.stderr


def test_a_method_of_the_users_own_has_what_options_it_has():
    settings = {"algo": "no_such_module:MyConfig", "whatever": 1}
    check_early(settings)
    with pytest.raises(ValueError, match="no_such_module cannot be imported"):
        build(settings)


def test_shells_complete_names_of_methods():
    completions = BashComplete(cli, {}, "aepo", "_AEPO_COMPLETE").get_completions(["train", "--algo"], "aepo_s")
    assert [item.value for item in completions] == ["aepo_signed", "aepo_steady"]
