"""A setting of an evaluation is declared once: Python, the command line, a folder and lm-eval have it from there."""

from __future__ import annotations

import inspect
import json
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import pytest

from aepo_rllib.cli.eval import eval_command
from aepo_rllib.eval import plan as plans
from aepo_rllib.eval.plan import EvaluationPlan, Settings
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.eval.settings import setting, settings_of
from aepo_rllib.eval.spec import EvaluationSpec

SUITE = "aepo_arithmetic"
ELSEWHERE = {"model", "output"}
"""An argument; an option with another default on the command line."""


@dataclass(frozen=True, kw_only=True)
class WithTopK(Settings):
    top_k: int = setting(0, "Only so many likeliest tokens; 0 is off.", generation="top_k", least=0, later=True)


def test_evaluate_models_keywords_are_the_settings_with_their_defaults() -> None:
    parameters = inspect.signature(evaluate_model).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        entry.name: entry.default for entry in fields(EvaluationPlan)
    }
    for name, declared in settings_of(EvaluationPlan).items():
        assert declared.words().split()[0] in str(evaluate_model.__doc__).split(f"    {name}: ")[1].split()[0]


def test_every_field_of_a_plan_is_a_declared_setting_whose_default_fits() -> None:
    declared = settings_of(EvaluationPlan)
    assert list(declared) == [entry.name for entry in fields(EvaluationPlan)]
    for name, each in declared.items():
        assert each.option.default is not MISSING
        each.option.check(name, each.option.default)
        assert each.option.words.endswith((".", ")")), name


def test_aepo_eval_has_an_option_for_every_setting() -> None:
    options = {parameter.name: parameter for parameter in eval_command.params if isinstance(parameter, click.Option)}
    with click.Context(eval_command) as context:
        given = {name: option.get_default(context) for name, option in options.items()}
    for name, declared in settings_of(EvaluationPlan).items():
        if name not in ELSEWHERE:
            assert (given[name] or None) == (declared.option.default or None), name
            assert str(options[name].help).startswith(declared.option.words.removesuffix(".")), name


def test_one_declaration_reaches_lm_eval() -> None:
    told = {"do_sample": True, "temperature": 1.0, "top_p": 1.0}
    assert Settings().generation() == told
    assert WithTopK(top_k=5).generation() == told | {"top_k": 5}
    assert Settings(n=4, ks=[4, 1, 4], grader="math").metadata() == {"repeats": 4, "k": [1, 4], "grader": "math"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"top_k": -1}, "top_k=-1 must be a whole number of at least 0"),
        ({"n": 0}, "n=0 must be a whole number of at least 1 and at most 100000"),
        ({"n": 2, "ks": [4]}, "pass@4 needs 1 <= k <= n"),
        ({"ks": []}, r"ks=\[\] must be a list, each a whole number"),
        ({"temperature": float("nan")}, "temperature=nan must be a number"),
        ({"temperature": 0}, "temperature 0 gives 64 equal samples"),
        ({"template": "boxd"}, "template='boxd': unknown prompt template 'boxd'"),
        ({"grader": "sympy"}, "grader='sympy': unknown verifier 'sympy'"),
        ({"answer_form": "boxes"}, "answer_form='boxes': must be one of"),
        ({"seed": -1}, "seed=-1: must be a whole number from 0"),
    ],
)
def test_a_setting_out_of_its_range_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        WithTopK(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"suites": SUITE}, f"suites='{SUITE}' must be a list"),
        ({"problems": "mine.jsonl"}, "problems='mine.jsonl' must be a list"),
        ({"max_rows": 0}, "max_rows=0 must be a whole number"),
        ({"overwrite": "yes"}, "overwrite='yes' must be true or false"),
        ({"output": 7}, "output=7 must be a path"),
        ({"engine_options": [1]}, r"engine_options=\[1\] must be a mapping"),
        ({"verifier": "math"}, "fields and verifier are about problems of your own"),
    ],
)
def test_what_a_plan_cannot_be_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        EvaluationPlan(**values)


def test_where_nothing_is_named_the_embedded_suite_is_meant() -> None:
    assert EvaluationPlan().suites == EvaluationPlan(suites=None).suites == (plans.DEFAULT_SUITE,)
    assert EvaluationPlan(problems=["mine.jsonl"]).suites == ()
    assert EvaluationPlan(suites=["a", "b", "a"]).suites == ("a", "b")


def test_a_spec_keeps_every_setting_and_reads_itself_back(tmp_path: Path) -> None:
    plan = EvaluationPlan(n=2, ks=[2], temperature=0.5, template="plain", limit=3, seed=2**64 - 1)
    spec = EvaluationSpec.of(plan, [SUITE], [], [])
    assert {name: getattr(spec, name) for name in settings_of(Settings)} == {
        name: getattr(plan, name) for name in settings_of(Settings)
    }
    identity = {"model": "m", "engine": "vllm", "dtype": "float32", "frame": "none", "system": None, "stop_ids": [0]}
    whole = replace(spec, identity=identity | {"seed": 0}, first_prompts={SUITE: "a"}, problems={SUITE: "5f0c"})
    whole.write(tmp_path)
    assert EvaluationSpec.read(tmp_path) == whole
    # Written where they are used, so that files without them are read on.
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert not {"answer_form", "own_problems", "own_suites"} & set(written)
    replace(whole, answer_form="hash").write(tmp_path)
    assert EvaluationSpec.read(tmp_path).answer_form == "hash"
