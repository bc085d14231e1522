"""Grades that are begun before their step are those of the step, and are begun while others are still sampled."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import pytest

from aepo_rllib.envs import ENV_ID
from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import Problem
from aepo_rllib.envs.text_env import PROBLEM_INDEX
from tests.envs.test_grading_service import HANGERS

pytestmark = pytest.mark.process

INTEGER = Problem(id="integer", text="", answer="7")
SURD = Problem(id="surd", text="", answer=r"\frac{\sqrt{2}}{2}")
COUNTDOWN = Problem(
    id="countdown", text="", answer="2*3+1", verifier="countdown", extra={"numbers": (1, 2, 3), "target": 7}
)
ASKED = [
    *((INTEGER, text) for text in (r"\boxed{7}", r"\boxed{8}", "nothing")),
    *((SURD, text) for text in (r"\boxed{\frac{1}{\sqrt{2}}}", r"\boxed{\sqrt{2}}", rf"\boxed{{{HANGERS[0]}}}")),
    *((COUNTDOWN, text) for text in (r"\boxed{3*2+1}", r"\boxed{3+2}")),
]


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2, deadline_s=1.0) as grader:
        yield grader


def test_what_is_begun_one_by_one_has_the_grades_of_a_batch(grader: Grader) -> None:
    """Whatever the kind of verdict, and in whichever portions the thread takes them."""
    whole = grader.grade_batch(*zip(*ASKED, strict=True))
    assert len({grade.verdict for grade in whole}) == 4
    futures = [grader.begin(problem, text) for problem, text in ASKED]
    assert [future.result() for future in futures] == whole


def test_answers_are_read_in_the_form_that_was_asked_for(grader: Grader) -> None:
    boxed, said = (grader.begin(INTEGER, "#### 7", form=form) for form in ("box", "hash"))
    assert (boxed.result().verdict.value, said.result().verdict.value) == ("no_answer", "correct")


def test_what_grading_raises_is_raised_where_the_grade_is_asked_for() -> None:
    with Grader(command=("false",)) as broken:
        futures = [broken.begin(SURD, r"\boxed{\sqrt{0.5}}"), broken.begin(SURD, r"\boxed{1/\sqrt{2}}")]
        for future in futures:
            with pytest.raises(RuntimeError, match="did not start"):
                future.result()
        assert broken.begin(INTEGER, r"\boxed{7}").result().verdict.value == "correct"


@pytest.fixture
def graded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Everything that is graded: by which thread, and the texts."""
    found, grade_batch = list[tuple[str, list[str]]](), Grader.grade_batch

    def noting(self: Grader, problems: Sequence[Problem], completions: Any, **kwargs: Any) -> Any:
        texts = list(completions)
        found.append((threading.current_thread().name, texts))
        return grade_batch(self, problems, texts, **kwargs)

    monkeypatch.setattr(Grader, "grade_batch", noting)
    return found


def by(graded: list[tuple[str, list[str]]], thread: str) -> list[str]:
    return [text for name, texts in graded if name == thread for text in texts]


def test_a_step_takes_what_was_begun_and_grades_the_rest(graded: list[tuple[str, list[str]]]) -> None:
    vector: Any = gymnasium.make_vec(ENV_ID, num_envs=4).unwrapped
    _, infos = vector.reset(options={PROBLEM_INDEX: [5, 5, 6, 7]})
    right = [rf"\boxed{{{gold}}}" for gold in infos["gold"]]
    vector.expect(1, right[1])
    vector.expect(2, "another text than that of the step")
    vector.expect(3, right[3])
    _, rewards, *_ = vector.step([right[0], right[1], right[2], right[3]])
    assert rewards.tolist() == [1.0] * 4
    assert by(graded, "MainThread") == [right[0], right[2]]
    vector.step(right)  # what was begun belonged to one step
    assert by(graded, "MainThread")[2:] == right


def test_a_reset_forgets_what_was_begun(graded: list[tuple[str, list[str]]]) -> None:
    """The same text may be right for the one problem and wrong for the next."""
    env: Any = gymnasium.make(ENV_ID).unwrapped
    _, info = env.reset(options={PROBLEM_INDEX: 5})
    text = rf"\boxed{{{info['gold']}}}"
    env.expect(text)
    assert env.step(text)[1] == 1.0
    assert by(graded, "MainThread") == []
    env.expect(text)
    other = next(index for index in range(100) if env.problems[index].answer != info["gold"])
    env.reset(options={PROBLEM_INDEX: other})
    assert env.step(text)[1] == 0.0


def test_nothing_can_be_expected_before_a_problem() -> None:
    single: Any = gymnasium.make(ENV_ID).unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded):
        single.expect("a text")
    vector: Any = gymnasium.make_vec(ENV_ID, num_envs=1).unwrapped
    with pytest.raises(gymnasium.error.ResetNeeded):
        vector.expect(0, "a text")


def test_a_portion_has_one_for_every_worker_and_waiting_for_a_grade_takes_fewer(tmp_path: Any) -> None:
    """Three that take their time, and three workers: all at once, not the first alone and then two."""
    (tmp_path / "slow.py").write_text(
        "import time\n\ndef slow(completion, problem):\n    time.sleep(0.5)\n    return float(completion)\n"
    )
    problem = Problem(id="any", text="", answer="1", verifier=f"{tmp_path}/slow.py:slow")
    with Grader(workers=3) as grader:
        assert grader.begin(problem, "1").result().reward == 1.0  # alone, and at once; this starts a worker
        grader.grade_batch([problem] * 3, ["1"] * 3)
        started = time.monotonic()
        begun = [grader.begin(problem, text) for text in ("1", "2", "3")]
        assert [each.result().reward for each in begun] == [1.0, 2.0, 3.0]
        assert time.monotonic() - started < 0.95


def test_what_was_begun_and_still_waits_is_forgotten_with_its_grader(graded: list[tuple[str, list[str]]]) -> None:
    grader = Grader(workers=2)
    begun = grader.begin(SURD, r"\boxed{\sqrt{0.5}}")
    grader.close()
    with pytest.raises(RuntimeError, match="closed before"):
        begun.result()
    assert graded == []


def test_a_grader_that_nobody_has_any_more_ends_at_once() -> None:
    """And its processes with it: not when garbage is next collected."""
    gc.disable()
    try:
        grader = Grader(workers=2)
        seen = weakref.ref(grader)
        del grader
        assert seen() is None
    finally:
        gc.enable()


def test_without_a_thread_whoever_asks_is_told(monkeypatch: pytest.MonkeyPatch, grader: Grader) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert grader.begin(INTEGER, r"\boxed{7}").result().verdict.value == "correct"  # which needs none
        begun = [grader.begin(SURD, r"\boxed{\frac{1}{\sqrt{2}}}") for _ in range(3)]
        with pytest.raises(RuntimeError, match="can't start new thread"):
            begun[0].result()
    assert [each.result().verdict.value for each in begun] == ["correct"] * 3
