"""Rows that are chats, that bring an instruction of their own, and that name their own verifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aepo_rllib.envs import TEMPLATES
from aepo_rllib.envs.problems import Problem, ProblemError, load_problems
from aepo_rllib.envs.problems.frames import FRAMES, bare
from aepo_rllib.envs.prompts import BOXED, DAPO_HEAD, DAPO_TAIL

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
EARLIER = [(SYSTEM, "s"), (USER, "a"), (ASSISTANT, "b")]


def chat(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def loaded(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> list[Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"answer": "7", **row}) + "\n" for row in rows))
    return list(load_problems(str(path), **options))


@pytest.mark.parametrize(
    ("turns", "before", "text"),
    [
        ([(USER, "q")], [], "q"),
        ([(SYSTEM, "Be careful."), (USER, "q")], [(SYSTEM, "Be careful.")], "q"),
        ([(USER, "a"), (ASSISTANT, "b"), (USER, "q")], [(USER, "a"), (ASSISTANT, "b")], "q"),
        ([(ASSISTANT, "b"), (USER, "q")], [(ASSISTANT, "b")], "q"),
        (
            [(SYSTEM, "s"), (USER, "a"), (ASSISTANT, "b"), (USER, "q")],
            [(SYSTEM, "s"), (USER, "a"), (ASSISTANT, "b")],
            "q",
        ),
        (
            [(SYSTEM, "s"), (USER, [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}])],
            [(SYSTEM, "s")],
            "a b",
        ),
        ([(SYSTEM, BOXED), (USER, "q")], [], "q"),
        ([(SYSTEM, f"Be kind. {BOXED}"), (USER, f"q {BOXED}")], [(SYSTEM, f"Be kind. {BOXED}")], "q"),
    ],
)
@pytest.mark.parametrize("column", ["prompt", "problem", "messages"])
def test_the_last_user_turn_is_the_problem(
    tmp_path: Path, column: str, turns: list[tuple[str, Any]], before: list[tuple[str, str]], text: str
) -> None:
    [problem] = loaded(tmp_path, {column: chat(*turns)})
    assert (problem.turns, problem.text) == (tuple(before), text)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (chat((USER, "q"), (ASSISTANT, "7")), "the last turn of the chat is the assistant's"),
        (chat((SYSTEM, "s")), "the last turn of the chat is the system's"),
        (chat((USER, "a"), (SYSTEM, "s"), (USER, "q")), "a system turn stands behind another turn"),
        (chat(("human", "q")), "turn 1 of the chat has the role 'human'; known: system, user, assistant"),
        (chat(("tool", "x"), (USER, "q")), "turn 1 of the chat has the role 'tool'"),
        ([{"content": "q"}], "turn 1 of the chat has the role None"),
        ([{"from": "human", "value": "q"}], "turn 1 of the chat has the role None"),
        (chat((USER, None)), "turn 1 of the chat has no text but None"),
        (chat((USER, 7)), "turn 1 of the chat has no text but 7"),
        (chat((USER, " ")), "problem must be text that is not empty"),
        (chat((USER, [{"type": "image", "url": "x"}])), "turn 1 of the chat has a part that is no text .'image'"),
        (chat((USER, ["q"])), "turn 1 of the chat has a part that is no text"),
        (chat((USER, [{"type": "text"}])), "turn 1 of the chat has a part that is no text"),
        (chat((SYSTEM, "\ud800"), (USER, "q")), "the chat holds half a character"),
        (chat((SYSTEM, "s" * 100_000), (USER, "q")), "the problem has 100001 characters"),
        ([chat((USER, "q")), chat((USER, "r"))], "problem must be text that is not empty, got a list"),
        ([], "problem must be text that is not empty, got a list"),
    ],
)
def test_other_chats_are_refused_by_line_and_reason(tmp_path: Path, turns: Any, reason: str) -> None:
    with pytest.raises(ProblemError, match=rf"rows\.jsonl:2: {reason}"):
        loaded(tmp_path, {"problem": "p"}, {"prompt": turns})


def test_rows_with_one_system_turn_are_problems_of_their_own(tmp_path: Path) -> None:
    rows = [
        {"prompt": chat((SYSTEM, "Be careful."), (USER, f"What is {i}+5?")), "answer": str(i + 5)} for i in range(5)
    ]
    assert [problem.text for problem in loaded(tmp_path, *rows)] == [f"What is {i}+5?" for i in range(5)]


def test_other_turns_make_another_problem(tmp_path: Path) -> None:
    rows = [
        {"prompt": chat((SYSTEM, system), (USER, "q")), "answer": answer} for system, answer in (("a", 1), ("b", 2))
    ]
    assert [problem.answer for problem in loaded(tmp_path, *rows, *rows)] == ["1", "2"]


def test_dapo_rows_lose_their_own_instruction(tmp_path: Path) -> None:
    content = f"{DAPO_HEAD}\n\nWhat is 3+4?\n\n{DAPO_TAIL}"
    assert content == TEMPLATES["dapo"].render("What is 3+4?")
    row = {"data_source": "math_dapo", "prompt": chat((USER, content)), "reward_model": {"ground_truth": "7"}}
    [problem] = loaded(tmp_path, row)
    assert problem.text == "What is 3+4?"
    [problem] = loaded(tmp_path, row, fields={"problem": "prompt.0.content"})
    assert problem.text == "What is 3+4?"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.source)
def test_instructions_of_public_sets_are_taken_off(frame: Any) -> None:
    for blank in (" ", "\n", "\n\n", "  \n"):
        assert bare(f"{frame.head}{blank}What is 3+4?{blank}{frame.tail}") == "What is 3+4?"
    inside = f"What does '{frame.head or frame.tail}' mean?"
    assert bare(inside) == inside


@pytest.mark.parametrize("name", ["dapo", "boxed", "qwen-boxed", "aepo-think"])
def test_a_problem_in_a_template_is_the_same_problem_without_it(name: str) -> None:
    """So a set that was written with a template can be read under any."""
    assert bare(TEMPLATES[name].render("What is 3+4?")) == "What is 3+4?"


def test_half_a_frame_and_a_lone_frame_stay() -> None:
    for text in (f"{DAPO_HEAD}\n\nq", f"q\n\n{DAPO_TAIL}", BOXED):
        assert bare(text) == text


def test_a_row_names_its_own_verifier(tmp_path: Path) -> None:
    rows = [{"problem": "p", "verifier": "math-numeric"}, {"problem": "q", "verifier": None}, {"problem": "r"}]
    assert [problem.verifier for problem in loaded(tmp_path, *rows)] == ["math-numeric", "math", "math"]
    named = loaded(tmp_path, *rows, verifier="qwen2.5-math")
    assert [problem.verifier for problem in named] == ["math-numeric", "qwen2.5-math", "qwen2.5-math"]
    [problem] = loaded(tmp_path, {"problem": "p", "judge": "math-percent"}, fields={"verifier": "judge"})
    assert problem.verifier == "math-percent"
    with pytest.raises(ProblemError, match=r"rows\.jsonl:1: no verifier .looked for judge; columns: answer, problem"):
        loaded(tmp_path, {"problem": "p"}, fields={"verifier": "judge"})


def test_verifiers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"rows\.jsonl:1: unknown verifier 'nope'"):
        loaded(tmp_path, {"problem": "p", "verifier": "nope"})
    with pytest.raises(ValueError, match="unknown verifier 'nope'"):
        loaded(tmp_path, {"problem": "p"}, verifier="nope")
    with pytest.raises(ValueError, match="verifier must be a name, not 5"):
        load_problems("sum3", verifier=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sum3 has verifiers of its own; leave out verifier=math"):
        load_problems("sum3", verifier="math")


def test_a_file_cannot_choose_code_that_runs(tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    (tmp_path / "evil_module_of_rows.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with pytest.raises(ProblemError, match=r"rows\.jsonl:1: the row names a function to run"):
            loaded(tmp_path, {"problem": "p", "verifier": "evil_module_of_rows:f"})
    assert not marker.exists()


def test_more_about_a_row_is_kept_for_a_verifier(tmp_path: Path) -> None:
    info = {"index": 3, "rate": 0.25, "tags": ["a", None], "more": {"x": True}}
    [problem] = loaded(tmp_path, {"problem": "p", "extra_info": info, "level": 5})
    assert problem.extra == info == json.loads(json.dumps(problem.extra))
    [problem] = loaded(tmp_path, {"problem": "p", "level": 5}, fields={"extra": "level"})
    assert problem.extra == {"level": 5}
    [problem] = loaded(tmp_path, {"problem": "p", "about": {"tests": [1]}}, fields={"extra": "about.tests"})
    assert problem.extra == {"tests": [1]}
    [problem] = loaded(tmp_path, {"problem": "p", "extra_info": "text"})
    assert problem.extra == {}
    with pytest.raises(ProblemError, match=r"rows\.jsonl:1: no extra .looked for about; columns: answer, problem"):
        loaded(tmp_path, {"problem": "p"}, fields={"extra": "about"})
    deep = '{"problem": "p", "answer": "7", "extra_info": ' + '{"x":' * 500 + "1" + "}" * 500 + "}"
    (tmp_path / "deep.jsonl").write_text(deep)
    with pytest.raises(ProblemError, match=r"deep\.jsonl:1: extra_info is nested too deeply"):
        load_problems(str(tmp_path / "deep.jsonl"))


def test_a_verifier_gets_what_it_needs_or_the_row_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    row = {"problem": "Make 8 from 2 4.", "answer": "2*4", "verifier": "countdown"}
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(ProblemError, match=r"mine\.jsonl:1: the verifier countdown needs numbers and target"):
        load_problems(str(file))
    file.write_text(json.dumps(row | {"extra_info": {"numbers": [2, 4], "target": 8}}) + "\n")
    assert load_problems(str(file))[0].extra["target"] == 8
