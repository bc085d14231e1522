"""The final answer in what a set calls its answer, and the rows of public sets, each in its own shape."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.tasks.hendrycks_math.utils import last_boxed_only_string, remove_boxed

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import Problem, ProblemError
from aepo_rllib.envs.problems.golds import read_gold
from aepo_rllib.envs.problems.rows import as_problems

WORK = "Each of the 3 boxes has 4 apples, that is 3*4 = 12. Then 5 of them are eaten, which leaves 12-5 = 7.\n"


def problems_of(*rows: dict[str, Any], fields: dict[str, str] | None = None, **options: Any) -> list[Problem]:
    return as_problems(((f"set[{n}]", row) for n, row in enumerate(rows)), fields or {}, "set", **options)


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        # GSM8K, MetaMathQA (also huggingface/trl#5026, jundot/omlx#3484)
        (WORK + "#### 7", "7"),
        (WORK + "####7", "7"),
        (WORK + "#### 1,080", "1,080"),
        (WORK + "#### (1,2)", "(1,2)"),
        (WORK + "#### 1, 2", "1, 2"),
        (WORK + "#### 1,2", "1,2"),
        (WORK + "#### 7\nThe answer is: 7", "7"),
        (WORK + "#### 7\r\nThe answer is: 7\r\n", "7"),
        (WORK + "####\n7", "7"),
        (WORK + "#### Answer: 7", "7"),
        (WORK + "#### \\boxed{7}", "7"),
        ("#### Step 1\n" + WORK + "#### Step 2\nSo it is $\\boxed{7}$.", "7"),
        (WORK + "So \\boxed{8} is too many.\n#### 7", "7"),
        # MATH and its relatives
        ("So the value is $\\boxed 7$.", "7"),
        ("So the value is $\\boxed{7}$.", "7"),
        ("So \\[x = \\boxed{\\frac{1}{2}}.\\]", "\\frac{1}{2}"),
        ("First $\\boxed{1}$, and then $\\fbox{2}$.", "2"),
        ("$\\boxed{\\{1,2\\}}$", "\\{1,2\\}"),
        ("\\boxed 7", "7"),
        ("It is \\boxed 12 apples.", "12"),
        ("It is $\\boxed\\frac12$.", "\\frac12"),
        ("It is \\(\\boxed 12\\), all in all.", "12"),
        ("\\boxed{7}", "7"),
        # Sentences and tags
        ("The answer is 7.", "7"),
        ("The answer is: $\\frac{1}{2}$", "$\\frac{1}{2}$"),
        ("The answer is 3.5.", "3.5"),
        (WORK + "The answer is 7.", "7"),
        (WORK + "So, the final answer is 7", "7"),
        (WORK + "Therefore, the correct answer is\n7", "7"),
        (WORK + "The final answer is\n\n$$\n7\n$$", "$$ 7 $$"),
        (WORK + "Hence the answer is: \\[\n7 \n\\]", "\\[ 7 \\]"),
        (WORK + "Therefore, the correct answer is:\n\n7", "7"),
        (WORK + "Final Answer: The final answer is $7$. I hope it is correct.", "$7$"),
        (WORK + "The answers are 3 and 5.", "3 and 5"),
        (WORK + "The answer to the problem is 7.", "7"),
        ("Answer: 7", "7"),
        ("ANSWER: 7", "7"),
        ("**Answer:** 7", "7"),
        ("**Final Answer**: 7", "7"),
        ("**Final Answer: 7**", "7"),
        ("Ans: 7", "7"),
        ("<answer>7</answer>", "7"),
        ("<think>12-5</think>\n<answer> 7 </answer>", "7"),
        ("<answer>\\boxed{7}</answer>", "7"),
        ("<answer>The answer is 7.</answer>", "7"),
        # Written lists of one, as in Skywork-OR1
        ('["7"]', "7"),
        ('["\\\\frac{1}{2}"]', "\\frac{1}{2}"),
        ("['7']", "7"),
        # What is an answer already
        ("7", "7"),
        ("[7]", "[7]"),
        ("['a', 'b']", "['a', 'b']"),
        ("x=1 or x=2", "x=1 or x=2"),
        ("the answer", "the answer"),
        ("answer", "answer"),
        ("no answer is possible", "no answer is possible"),
        ("Yes", "Yes"),
        ("\\text{The answer is } 7", "\\text{The answer is } 7"),
        ("f(x)=ax+b, where b is an arbitrary integer.", "f(x)=ax+b, where b is an arbitrary integer."),
        ("y=2 \\text{ for all } x", "y=2 \\text{ for all } x"),
        ("\\boxedtext{7}", "\\boxedtext{7}"),
    ],
)
def test_the_final_answer_is_read(written: str, gold: str) -> None:
    assert read_gold(written).strip() == gold


BALANCED = st.recursive(
    st.text("x1 +\\frac^_", max_size=6).map(lambda text: text.rstrip("\\")),
    lambda inner: st.lists(inner.map(lambda text: f"{{{text}}}") | inner, max_size=3).map("".join),
    max_leaves=6,
)


@given(st.text("ab 1.$\n", max_size=20), BALANCED, st.text("ab 1.$\n", max_size=20))
def test_boxes_are_read_as_lm_eval_reads_them(before: str, content: str, after: str) -> None:
    solution = f"{before}\\boxed{{{content}}}{after}"
    assert read_gold(solution) == remove_boxed(last_boxed_only_string(solution)) == content


@given(st.text(st.sampled_from("7x,.\n #:*<>\\{}[]\"'$ae") | st.characters(codec="utf-8"), max_size=60))
def test_what_is_read_stands_in_the_text_and_reads_as_itself(written: str) -> None:
    gold = read_gold(written)
    assert " ".join(gold.split()) in " ".join(written.split()) or written.strip().startswith("[")
    assert gold.strip() in ("", read_gold(gold).strip()) or any(mark in gold for mark in ("####", "\\", ":", "<", "["))


@pytest.mark.parametrize(
    "piece",
    ["answer: ", "####", "\\boxed{", "\\boxed ", "<answer>", "{", ":\n", " \n", "\n.", '["', "** ", "so, ", ". "],
)
def test_reading_takes_time_linear_in_the_length(piece: str) -> None:
    start = time.monotonic()
    read_gold(piece * (1_000_000 // len(piece)))
    assert time.monotonic() - start < 2


ROWS_OF_PUBLIC_SETS: list[tuple[str, dict[str, Any], str, str]] = [
    ("openai/gsm8k", {"question": "q", "answer": WORK + "#### 7"}, "q", "7"),
    (
        "EleutherAI/hendrycks_math",
        {"problem": "q", "level": "5", "solution": "So $\\boxed{7}$."},
        "q",
        "7",
    ),
    ("HuggingFaceH4/MATH-500", {"problem": "q", "solution": WORK, "answer": "7", "subject": "A"}, "q", "7"),
    ("Maxwell-Jia/AIME_2024", {"ID": "I-1", "Problem": "q", "Solution": WORK, "Answer": 7}, "q", "7"),
    ("AI-MO/aimo-validation-amc", {"id": 0, "problem": "q", "answer": 7.0, "url": "u"}, "q", "7.0"),
    ("Hothan/OlympiadBench", {"question": "q", "solution": [WORK], "context": None, "final_answer": ["7"]}, "q", "7"),
    ("nvidia/OpenMathReasoning", {"expected_answer": "7", "problem": "q", "generated_solution": WORK}, "q", "7"),
    ("open-r1/OpenR1-Math-220k", {"problem": "q", "solution": WORK, "answer": "7", "messages": [{}]}, "q", "7"),
    ("AI-MO/NuminaMath-CoT", {"source": "s", "problem": "q", "solution": WORK + "$\\boxed{7}$"}, "q", "7"),
    ("agentica-org/DeepScaleR-Preview-Dataset", {"problem": "q", "answer": "7", "solution": ""}, "q", "7"),
    ("open-r1/DAPO-Math-17k-Processed", {"prompt": "q", "solution": "7"}, "q", "7"),
    ("SynthLabsAI/Big-Math-RL-Verified", {"problem": "q", "answer": "7", "llama8b_solve_rate": 0.5}, "q", "7"),
    (
        "Skywork/Skywork-OR1-RL-Data",
        {"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": '["7"]', "style": "rule"}},
        "q",
        "7",
    ),
    ("zwhe99/DeepMath-103K", {"question": "q", "final_answer": "7", "r1_solution_1": WORK}, "q", "7"),
    ("meta-math/MetaMathQA", {"query": "q", "response": WORK + "#### 7\nThe answer is: 7"}, "q", "7"),
    ("ChilleD/SVAMP", {"Body": "b", "Question": "q", "Answer": "7", "question_concat": "b q"}, "b q", "7"),
    ("math-ai/minervamath", {"question": "q", "answer": "7"}, "q", "7"),
    ("allenai/RLVR-MATH", {"messages": [{"role": "user", "content": "q"}], "ground_truth": "7"}, "q", "7"),
    ("tatsu-lab/alpaca", {"instruction": "q", "input": "", "output": "7"}, "q", "7"),
    ("OpenRLHF", {"input": "q", "label": "7"}, "q", "7"),
    ("a flattened table", {"prompt": "q", "reward_model.ground_truth": "7"}, "q", "7"),
]


@pytest.mark.parametrize(("row", "text", "answer"), [case[1:] for case in ROWS_OF_PUBLIC_SETS])
def test_rows_of_public_sets_need_no_field_map(row: dict[str, Any], text: str, answer: str) -> None:
    [problem] = problems_of(row)
    assert (problem.text, problem.answer) == (text, answer)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"Body": "b", "Question": "q", "Answer": "7"}, "the problem is in two columns, question and body"),
        ({"instruction": "i", "input": "x", "output": "7"}, "two columns, instruction and input"),
        ({"question": "q", "choices": ["1", "7"], "answer": 1}, "two columns, question and choices"),
        ({"question": "q", "context": "c", "final_answer": ["7"]}, "two columns, question and context"),
        ({"problem": "q", "solution": WORK}, r"solution is a text of \d+ words without a final answer"),
        ({"problem": "q", "response": WORK * 9}, r"response is a text of \d+ words"),
        ({"problem": "q", "answer": WORK * 9}, r"answer is a text of \d+ words"),
        ({"problem": "q", "solution": "So it is $\\boxed{}$."}, "the answer is empty"),
        ({"text": "q", "final": "7"}, r"no problem \(looked for problem, .*; columns: text, final\)"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_option_that_tells_it(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProblemError, match=rf"^set\[0\]: .*{reason}") as raised:
        problems_of(row)
    if "empty" not in reason:
        assert "--fields '{" in str(raised.value)
        assert "env_config.fields" in str(raised.value)


def test_a_field_map_settles_what_cannot_be_told() -> None:
    row = {"Body": "b", "Question": "q", "Answer": "7", "problem": "other", "answer": "8"}
    [problem] = problems_of(row, fields={"problem": "Question", "answer": "Answer"})
    assert (problem.text, problem.answer) == ("q", "7")


@pytest.mark.process
def test_golds_that_were_read_are_what_the_grader_rewards() -> None:
    written = [
        WORK + "#### 1, 2",
        "The answer is 7.",
        "So the value is $\\boxed 7$.",
        "<answer>7</answer>",
        "#### (1,2)",
    ]
    problems = problems_of(*({"problem": f"{n}?", "answer": answer} for n, answer in enumerate(written)))
    with Grader(workers=1) as grader:
        right = grader.grade_batch(problems, [rf"\boxed{{{answer}}}" for answer in ("1,2", "7", "7", "7", "(1,2)")])
        wrong = grader.grade_batch(problems, [rf"\boxed{{{answer}}}" for answer in ("12", "8", "8", "8", "(12)")])
    assert [grade.verdict.value for grade in right] == ["correct"] * 5
    assert [grade.verdict.value for grade in wrong] == ["wrong"] * 5


def test_a_problem_with_two_answers_is_refused_by_both_lines() -> None:
    same = [("7", "7"), ("7", "7.0"), ("$7$", "7"), ("1/2", "\\frac{1}{2}"), ("1,080", "1080"), ("x ", "x")]
    for known, other in same:
        assert len(problems_of({"problem": "q", "answer": known}, {"problem": " q", "answer": other})) == 1
    rows = [{"problem": text, "answer": answer} for text, answer in (("q", "7"), ("r", "1"), ("q", "8"), ("q", "7"))]
    with pytest.raises(ProblemError, match=r"^set\[2\]: the same problem as set\[0\] with another answer, '8' .* '7'"):
        problems_of(*rows)
    assert [problem.text for problem in problems_of(*rows, drop_conflicts=True)] == ["r"]
    assert len(problems_of(*rows, drop_repeats=False)) == 4
