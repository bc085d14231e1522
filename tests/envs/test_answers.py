"""Reading the final answer out of a completion."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from aepo_rllib.envs import TEMPLATES, MathTextEnv
from aepo_rllib.envs.env_arguments import check_env_arguments
from aepo_rllib.envs.grading import FORMS, extract_answer
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS
from aepo_rllib.eval.data import load_docs
from aepo_rllib.eval.scoring import grade_samples
from aepo_rllib.eval.target import find_target


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{ 4 }", "4"),
        (r"\fbox{7}", "7"),
        (r"\boxed{1} no, \boxed{2}", "2"),
        (r"\boxed{1} no, \fbox{2}", "2"),
        (r"\fbox{1} no, \boxed{2}", "2"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{\frac{1}{2}} and {more}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\left\{ x \right.} }", r"\left\{ x \right."),
        ("\\boxed{a\\\\}", "a\\\\"),
        ("\\boxed{1\n}", "1"),
        (r"\boxed{" + "9" * MAX_ANSWER_CHARS + "}", "9" * MAX_ANSWER_CHARS),
        ("", None),
        ("the answer is 42", None),
        (r"boxed{42}", None),
        (r"\boxed{}", None),
        (r"\boxed{   }", None),
        (r"\boxed{42", None),
        (r"\boxed{1} then \boxed{2", None),
        (r"\boxed{1} then \boxed{}", None),
        (r"\boxed{1\}", None),
        (r"\boxed{" + "9" * (MAX_ANSWER_CHARS + 1) + "}", None),
    ],
)
def test_the_last_box_is_the_answer(completion: str, answer: str | None) -> None:
    assert extract_answer(completion) == answer


@pytest.mark.parametrize("piece", [r"\boxed{", r"\fbox{", "{", "}", " ", "\\", "1", r"\boxed{1}", r"\boxed{{"])
def test_hostile_text_takes_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = r"\boxed{" + piece * (size // len(piece))
        start = time.perf_counter()
        extract_answer(text)
        return time.perf_counter() - start

    short, long = (min(seconds(size) for _ in range(3)) for size in (100_000, 200_000))
    assert long < 0.2
    assert long < 5 * short + 0.01


FORM_CASES = [
    ("box", r"The value is $\boxed 5$.", "5"),
    ("box", r"\boxed {5} and nothing else", "5"),
    ("box", r"so \boxed\frac{1}{2}.", r"\frac{1}{2}"),
    ("box", r"\boxed 5.", "5"),
    ("box", "Answer: 5", None),
    ("answer-line", "Answer: 7", "7"),
    ("answer-line", "We get 8.\n\nAnswer: $\\frac{1}{2}$\n", "$\\frac{1}{2}$"),
    ("answer-line", "Answer: 6\nwait\nAnswer: 7.", "7"),
    ("answer-line", "**Answer:** 7", "7"),
    ("answer-line", "**Final Answer:** 7", "7"),
    ("answer-line", r"Answer: $\boxed{7}$", "7"),
    ("answer-line", "Answer:\n7", "7"),  # as verl reads DAPO's form
    ("answer-line", r"\boxed{7}", None),
    ("answer-line", "The answer is 7", None),
    ("hash", "so 3 + 4 = 7\n#### 7", "7"),
    ("hash", "#### 1,080\nmore", "1,080"),
    ("hash", "#### 6\n#### 7", "7"),
    ("hash", "7", None),
    ("answer-tag", "<think>6</think> <answer>7</answer>", "7"),
    ("answer-tag", "<answer>6</answer> no: <answer> 7 </answer>", "7"),
    ("answer-tag", "<answer>\\boxed{7}</answer>", "7"),
    ("answer-tag", "<answer>6</answer> <answer>7", None),
    ("answer-tag", "7</answer>", None),
    ("answer-tag", "<answer></answer>", None),
    ("minerva", "Final Answer: The final answer is $7$. I hope it is correct.", "$7$"),
    ("minerva", "The final answer is 0.5.", "0.5"),
    ("minerva", "The final answer is 6. So the final answer is: 7", "7"),
    ("minerva", r"The final answer is $\boxed{7}$.", "7"),
    ("minerva", "7", None),
]


@pytest.mark.parametrize(("form", "completion", "answer"), FORM_CASES)
def test_answers_in_every_form(form: str, completion: str, answer: str | None) -> None:
    assert FORMS[form](completion) == answer


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"The solutions are $\boxed{2}$ and $\boxed{3}$.", "2, 3"),
        (r"\boxed{2}, \boxed{3}, and \boxed{5}", "2, 3, 5"),
        (r"$x=\boxed{2}$ or $x=\boxed{3}$", "2, 3"),
        (r"\boxed{2} \quad \text{and} \quad \boxed{3}", "2, 3"),
        (r"First \boxed{1}. After a long while we see that it was wrong, and get \boxed{2} and \boxed{3}", "2, 3"),
        (r"\boxed{2,3}, that is \boxed{2,3}", "2,3"),
        (r"\boxed{3}", "3"),
    ],
)
def test_boxes_of_a_list_are_taken_together(completion: str, answer: str) -> None:
    assert extract_answer(completion, several=True) == answer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "piece",
    [r"\boxed", r"\boxed{", "Answer:", "####", "<answer>", "</answer>", "final answer is", "**", ". I hope it is"],
)
def test_reading_in_any_form_takes_time_linear_in_the_text(form: str, piece: str) -> None:
    started = time.perf_counter()
    FORMS[form](piece * (400_000 // len(piece)), several=True)
    assert time.perf_counter() - started < 2.0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"template": "dapo", "answer_form": "box"}, "asks for the answer form 'answer-line'"),
        (
            {"template": "dapo", "verifier": "qwen2.5-math"},
            "'qwen2.5-math' does not read .* choose another template, or",
        ),
        (
            {"answer_form": "hash", "verifier": "qwen2.5-math"},
            "form 'hash', which the verifier .*another answer_form",
        ),
        ({"answer_form": "lines"}, "unknown answer form 'lines'; choose one of box, answer-line"),
    ],
)
def test_prompts_and_verifiers_that_do_not_fit_are_refused(arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_env_arguments(**arguments)


def test_the_form_follows_the_template() -> None:
    asked = {name: check_env_arguments(template=name) for name in TEMPLATES}
    assert set(asked.values()) == set(FORMS) - {"minerva"}
    assert check_env_arguments(template="minerva", answer_form="minerva") == "minerva"
    env = MathTextEnv(problems="sum3", template="dapo")
    env.reset(options={"problem_index": 0})
    known = env.problems[0].answer
    assert env.step(f"so...\nAnswer: {known}")[1] == 1.0
    env.reset(options={"problem_index": 0})
    assert env.step(rf"\boxed{{{known}}}")[4]["verdict"] == "no_answer"
    env.grader.close()


def test_a_suite_is_graded_in_the_form_of_its_template() -> None:
    docs = load_docs("sum3", template="dapo")["test"]
    completions = [[f"Answer: {docs[0]['answer']}", rf"\boxed{{{docs[0]['answer']}}}"]]
    assert [verdict for verdict, *_ in grade_samples(completions, [docs[0]])[0]] == ["correct", "no_answer"]
    with pytest.raises(ValueError, match="does not read"):
        load_docs("sum3", template="dapo", grader="qwen2.5-math")


def test_rows_that_name_a_verifier_of_another_form_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"problem": "q", "answer": "7", "verifier": "qwen2.5-math"}\n')
    with pytest.raises(ValueError, match="asks for answers in the form 'answer-line', which"):
        MathTextEnv(problems=str(file), template="dapo")


def test_a_form_that_contradicts_its_template_is_refused_in_evaluation_too() -> None:
    with pytest.raises(ValueError, match="'boxed' asks for the answer form 'box', and"):
        load_docs("sum3", template="boxed", answer_form="hash")
    assert load_docs("sum3", template="question-answer", answer_form="hash")["test"][0]["answer_form"] == "hash"


def test_an_exported_model_remembers_its_form(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "aepo.json").write_text('{"template": "question-answer", "answer_form": "hash"}')
    assert find_target(str(tmp_path)).answer_form == "hash"
    assert find_target(str(tmp_path), template="boxed").answer_form is None
    (tmp_path / "aepo.json").write_text('{"answer_form": "../x"}')
    with pytest.raises(ValueError, match=r"aepo\.json.*answer_form"):
        find_target(str(tmp_path))
