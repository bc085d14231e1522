"""Prompt templates of one's own: what a file says, what is refused, and that it travels with a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aepo_rllib import GRPOConfig
from aepo_rllib.envs.own_templates import own_template, portable_template
from aepo_rllib.envs.prompts import TEMPLATES, form_of, get_template
from aepo_rllib.eval.target import find_target

MINE = r"""
text: |-
  Q: {problem}
  A:
answer_form: box
examples:
  - {problem: 2 + {x}, completion: "It is \\boxed{4}."}
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text(MINE.replace("2 + {x}", '"2 + {x}"'))
    return str(file)


def test_a_file_is_a_template(mine: str) -> None:
    template = get_template(mine)
    assert template.name == "mine"
    assert template.render("a {problem} b") == "Q: 2 + {x}\nA: It is \\boxed{4}.\n\nQ: a {problem} b\nA:"
    assert template.turns == ()
    assert form_of(mine) == "box"


def test_a_template_in_a_line_is_the_one_in_the_file(mine: str) -> None:
    line = portable_template(mine)
    assert json.loads(line)["name"] == "mine"
    assert get_template(line) == get_template(mine)
    assert portable_template(line) == line
    assert portable_template("boxed") == "boxed"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_of_ours_can_be_written_as_a_file(name: str, tmp_path: Path) -> None:
    ours = TEMPLATES[name]
    file = tmp_path / "x.yaml"
    told = {"name": ours.name, "text": ours.text, "frame": ours.frame, "system": ours.system}
    file.write_text(json.dumps(told | {"answer_form": ours.answer_form}))
    assert own_template(str(file)) == ours


def test_a_run_takes_the_template_with_it(mine: str) -> None:
    config = GRPOConfig().problems(problems="countdown3", template=mine)
    config.validate()
    Path(mine).unlink()
    assert get_template(config.env_config["template"]).render("1").startswith("Q: 2 + {x}")


def test_an_evaluation_keeps_the_template_itself(mine: str) -> None:
    assert find_target("embedded", mine).template == portable_template(mine)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("text: no problem here", "x.yaml: text must have {problem} once"),
        ("text: '{problem} {problem}'", "x.yaml: text must have {problem} once"),
        ("txt: '{problem}'", "x.yaml: unknown key 'txt'; did you mean text?"),
        ("frame: chat", "x.yaml: frame='chat' must be one of none, chatml, model"),
        ("system: Be brief.", "x.yaml: system is a turn of a chat, and frame none writes none"),
        ("answer_form: boxed", "x.yaml: answer_form: unknown form 'boxed'"),
        ("examples: 3", "x.yaml: examples must be a list"),
        ("examples: [{problem: 1 + 1}]", "x.yaml: examples: expected {problem: ..., completion: ...}"),
        ("examples: [{problem: 1, completion: x}]", "examples: problem=1 must be a text"),
        ("text: 3", "x.yaml: text=3 must be a text"),
        ("[1", "x.yaml:2: broken YAML"),
        ("- 1", "x.yaml: expected a mapping"),
    ],
)
def test_what_is_no_template_is_refused_by_file_and_key(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f"{text}\n")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        get_template(str(tmp_path / "x.yaml"))
    assert complaint in str(caught.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"prompt template nowhere\.yaml: No such file"):
        get_template("nowhere.yaml")
