"""The grader as a whole: order, laws, hostile answers, threads and Ray actors, with real worker processes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aepo_rllib.envs.grading import Grade, Grader, GraderBroken
from aepo_rllib.envs.problems import Problem, arithmetic_problems
from aepo_rllib.envs.verdict import Verdict

pytestmark = pytest.mark.process

DEADLINE_S = 1.0
# The first one is reported to hang math-verify past its own time-outs.
HANGERS = [
    r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}",
    "(10^9)!",
    "2^{10^9}",
    "10^{10^{10}}",
    "9^{9^{9^{9}}}+1",
    r"\binom{10^8}{5*10^7}",
    r"\int_0^1 \sin(x^x) e^{x^5} dx",
]


def maths(answer: str) -> Problem:
    return Problem(id=f"maths {answer}", text="", answer=answer)


def box(answer: str) -> str:
    return rf"I think it is \boxed{{{answer}}}."


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2, deadline_s=DEADLINE_S) as grader:
        yield grader


def test_order_is_kept_across_all_kinds_of_verdict(grader: Grader) -> None:
    countdown = next(p for p in arithmetic_problems("validation") if p.verifier == "countdown")
    rows = [
        (maths("5"), box("5"), Grade(Verdict.CORRECT, "5")),
        (maths(r"\frac{1}{3}"), box("1/3"), Grade(Verdict.CORRECT, "1/3")),
        (countdown, box(countdown.answer), Grade(Verdict.CORRECT, countdown.answer)),
        (maths("5"), "five", Grade(Verdict.NO_ANSWER, None)),
        (maths(r"\frac{1}{3}"), box("1/4"), Grade(Verdict.WRONG, "1/4")),
        (countdown, box("1"), Grade(Verdict.WRONG, "1")),
        (maths("5"), box("6"), Grade(Verdict.WRONG, "6")),
        (maths("none"), box("none."), Grade(Verdict.CORRECT, "none.")),
    ] * 7
    problems, completions, expected = zip(*rows, strict=True)
    assert grader.grade_batch(problems, completions) == list(expected)


def test_cheap_verdicts_start_no_process() -> None:
    with Grader() as grader:
        problems = arithmetic_problems("test")
        grades = grader.grade_batch(problems, [box(problem.answer) for problem in problems])
        grader.self_test()
        assert {grade.verdict for grade in grades} == {Verdict.CORRECT}
        assert not grader.pool.started


def test_a_long_known_answer_is_met_by_another_spelling(grader: Grader) -> None:
    short, long = (",".join(form % n for n in range(1, 30)) for form in (r"%d\pi/48", r"\frac{%d\pi}{48}"))
    assert len(long) > 300 + len("5") > len(short)
    grades = grader.grade_batch(
        [maths(long), maths(short), maths(long), maths("5")], map(box, (short, long, short[:-1], long))
    )
    assert [grade.verdict.value for grade in grades] == ["correct", "correct", "wrong", "wrong"]


def test_equal_pairs_are_compared_once(grader: Grader) -> None:
    """A thousand slow pairs would take a thousand deadlines."""
    start = time.monotonic()
    grades = grader.grade_batch([maths("3")] * 1000, [box(HANGERS[0])] * 1000)
    assert {grade.verdict for grade in grades} == {Verdict.TIMED_OUT}
    assert time.monotonic() - start < 2 * DEADLINE_S + 5


def test_answers_that_never_end_cost_a_deadline_each(grader: Grader) -> None:
    honest = [(maths(rf"\frac{{{i}}}{{7}}"), box(f"{i}/7"), Verdict.CORRECT) for i in range(1, 40)]
    hostile = [(maths("3"), box(answer), None) for answer in HANGERS]
    rows = [row for pair in zip(honest, hostile, strict=False) for row in pair] + honest[len(hostile) :]
    start = time.monotonic()
    grades = grader.grade_batch([row[0] for row in rows], [row[1] for row in rows])
    assert time.monotonic() - start < len(HANGERS) * (DEADLINE_S + 2)
    for grade, (_, _, expected) in zip(grades, rows, strict=True):
        assert grade.verdict is expected if expected else grade.verdict is not Verdict.CORRECT
    grader.self_test()


def test_verdicts_do_not_depend_on_what_was_graded_before(grader: Grader) -> None:
    pairs = [("x^2+2x+1", "(x+1)^2"), (r"2\sqrt{3}", r"\sqrt{12}"), ("x^2", "x^3"), (r"\{1,2\}", r"\{2,1\}")]
    poison = ["x=5", r"\pi=3", "e=2", "i=1", r"\sqrt=2", "Integer=5", "x:=y", r"\operatorname{sqrt}=0"]
    problems, completions = [maths(gold) for gold, _ in pairs], [box(answer) for _, answer in pairs]
    before = grader.grade_batch(problems, completions)
    for problem in problems:
        grader.grade_batch([problem] * len(poison), [box(text) for text in poison])
    assert grader.grade_batch(problems, completions) == before
    assert [grade.verdict.value for grade in before] == ["correct", "correct", "wrong", "correct"]


def test_code_in_an_answer_never_runs(grader: Grader, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    codes = [
        f"__import__('os').system('touch {marker}')",
        f"open('{marker}', 'w')",
        f"().__class__.__base__.__subclasses__()[0].__init__.__globals__['os'].system('touch {marker}')",
        f"$(touch {marker})",
        f"`touch {marker}`",
        rf"\immediate\write18{{touch {marker}}}",
    ]
    countdown = Problem("c", "", "1", "countdown", extra={"numbers": (1,), "target": 1})
    for problem in (maths("5"), maths(r"\frac{1}{2}"), countdown):
        for grade in grader.grade_batch([problem] * len(codes), [box(code) for code in codes]):
            assert grade.verdict in (Verdict.WRONG, Verdict.TIMED_OUT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["\x00", "\ud800", "é" * 300, "\n" * 10 + "1", "{" * 100 + "}" * 100, "\\" * 200])
def test_odd_characters_reach_a_verdict(grader: Grader, text: str) -> None:
    assert grader.grade(maths(r"\frac{1}{2}"), box(text)).verdict is not Verdict.CORRECT


def test_misuse_is_named(grader: Grader) -> None:
    with pytest.raises(ValueError, match=r"p1: unknown verifier 'maths'; known: countdown, math, "):
        grader.grade(Problem("p1", "", "1", "maths"), box("1"))
    with pytest.raises(ValueError, match="2 problems, but fewer completions"):
        grader.grade_batch([maths("1")] * 2, [box("1")])
    with pytest.raises(ValueError, match="2 problems, but more completions"):
        grader.grade_batch([maths("1")] * 2, [box("1")] * 3)
    with pytest.raises(ValueError, match="has 1001 characters, more than 1000"):
        grader.grade(maths("x" * 1001), box("y"))
    with pytest.raises(ValueError, match="workers must be a whole number from 1"):
        Grader(workers=0)
    grader.self_test()


def test_works_from_threads(grader: Grader) -> None:
    seen: dict[int, list[Grade]] = {}

    def work(number: int) -> None:
        seen[number] = grader.grade_batch(
            [maths(rf"\frac{{{number}}}{{7}}")] * 3,
            [box(f"{number}/7"), box(f"{number}/8"), box(f"{number}.1")],
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    expected = [Verdict.CORRECT, Verdict.WRONG, Verdict.WRONG]
    assert {n: [g.verdict for g in grades] for n, grades in seen.items()} == dict.fromkeys(range(1, 6), expected)


def test_a_grader_made_in_a_thread_outlives_it() -> None:
    made: list[Grader] = []

    def make() -> None:
        made.append(Grader(workers=1))
        made[0].grade(maths(r"\frac{1}{2}"), box("0.5"))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join(timeout=60)
    with made[0] as grader:
        pids = grader.pool.pids
        assert grader.grade(maths(r"\frac{1}{4}"), box("0.25")).verdict is Verdict.CORRECT
        assert grader.pool.pids == pids


LIAR = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "equal": %s}), flush=True)
"""


@pytest.mark.parametrize(("always", "complaint"), [("False", "expected correct, got wrong"), ("True", "wrong, got")])
def test_a_broken_grader_is_noticed_by_its_own_test(always: str, complaint: str) -> None:
    with Grader(workers=1, command=(sys.executable, "-c", LIAR % always)) as grader:
        grader.self_test()
        grader.grade(maths("x"), box("y"))
        with pytest.raises(GraderBroken, match=complaint):
            grader.self_test()


def test_works_in_a_ray_actor(ray_cluster: None) -> None:
    import ray

    class Actor:
        def grade(self, problems: list[Problem], completions: list[str]) -> list[str]:
            with Grader(workers=1, deadline_s=DEADLINE_S) as grader:
                return [grade.verdict.value for grade in grader.grade_batch(problems, completions)]

    problems = [maths(r"\frac{1}{2}"), maths("3"), maths(r"\frac{1}{2}")]
    completions = [box("0.5"), box(HANGERS[0]), box("2")]
    actor = ray.remote(Actor).options(max_concurrency=2).remote()  # runs calls in threads
    verdicts = ray.get(actor.grade.remote(problems, completions), timeout=60)
    ray.kill(actor)
    assert verdicts == ["correct", "timed_out", "wrong"]
