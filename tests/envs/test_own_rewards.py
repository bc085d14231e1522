"""Reward functions of the user's own: named, run in worker processes, checked, and stopped."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aepo_rllib.envs import MathTextEnv, MathTextVectorEnv, Problem
from aepo_rllib.envs.grading import Grader, GraderBroken, SampledText, Score, get_verifier
from aepo_rllib.envs.grading.rewards import load_reward
from aepo_rllib.envs.verdict import Verdict

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
REWARDS = """
import time
from decimal import Decimal
import numpy as np
from aepo_rllib.envs.grading import Score

calls = []

def length(completion, problem):
    return (completion.tokens or len(completion)) / 10

def told(completion, problem):
    right = problem.extra["right"]
    return Score(0.25 if right in completion else -0.5, correct=right in completion, answer=completion[:3])

def system(completion, problem):
    return float(problem.turns == (("system", "Be brief."),) and completion.truncated is True)

def numpy_number(completion, problem):
    return np.float32(0.5)

def yes(completion, problem):
    return "yes" in completion

def raises(completion, problem):
    raise KeyError(f"no {completion}")

def hangs(completion, problem):
    while completion == "hang":
        pass
    return 1.0

def eats(completion, problem):
    return float(len(bytearray(2**40)))

def kills(completion, problem):
    import os
    os._exit(3) if completion == "kill" else None
    return 1.0

def nan(completion, problem):
    return float("nan")

def huge(completion, problem):
    return 1e6

def text(completion, problem):
    return "1"

def prints(completion, problem):
    print("{\\"ready\\": false}")
    return 1
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("own") / "my_rewards.py"
    path.write_text(REWARDS)
    return str(path)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1, deadline_s=1.0) as grader:
        yield grader


def problem(verifier: str, **more: Any) -> Problem:
    return Problem("p", "", "7", verifier, **more)


def test_a_reward_is_what_the_function_gives(grader: Grader, module: str) -> None:
    given = [
        (problem(f"{module}:length"), SampledText("abc", tokens=12), Verdict.CORRECT, 1.2, None),
        (problem(f"{module}:length"), "\\boxed{5}", Verdict.CORRECT, 0.9, "5"),
        (problem(f"{module}:told", extra={"right": "abc"}), "abcd", Verdict.CORRECT, 0.25, "abc"),
        (problem(f"{module}:told", extra={"right": "x"}), "abcd", Verdict.WRONG, -0.5, "abc"),
        (
            problem(f"{module}:system", turns=(("system", "Be brief."),)),
            SampledText("a", tokens=1, truncated=True),
            Verdict.CORRECT,
            1.0,
            None,
        ),
        (problem(f"{module}:numpy_number"), "", Verdict.CORRECT, 0.5, None),
        (problem(f"{module}:yes"), "yes", Verdict.CORRECT, 1.0, None),
        (problem(f"{module}:yes"), "no", Verdict.WRONG, 0.0, None),
        (problem(f"{module}:prints"), "", Verdict.CORRECT, 1.0, None),
        (problem("math"), "\\boxed{7}", Verdict.CORRECT, 1.0, "7"),
    ]
    grades = grader.grade_batch([row[0] for row in given], [row[1] for row in given])
    for grade, (_, _, verdict, reward, answer) in zip(grades, given, strict=True):
        assert (grade.verdict, grade.reward, grade.answer) == (verdict, pytest.approx(reward), answer)


@pytest.mark.parametrize(
    ("name", "verdict", "error"),
    [
        ("raises", Verdict.CRASHED, "KeyError: 'no x'"),
        ("eats", Verdict.CRASHED, "MemoryError"),
        ("nan", Verdict.CRASHED, "no finite number"),
        ("huge", Verdict.CRASHED, "outside of -10 to 10"),
        ("text", Verdict.CRASHED, "no finite number"),
    ],
)
def test_what_is_no_reward_is_no_verdict_and_is_said(
    grader: Grader, module: str, caplog: pytest.LogCaptureFixture, name: str, verdict: Verdict, error: str
) -> None:
    grade = grader.grade(problem(f"{module}:{name}"), "x")
    assert (grade.verdict, grade.reward) == (verdict, 0.0)
    assert not grade.verdict.usable
    assert error in caplog.text
    assert "problem p" in caplog.text


def test_a_function_that_hangs_or_ends_its_process_costs_nobody_else_a_reward(grader: Grader, module: str) -> None:
    texts = ["a", "hang", "b"]
    grades = grader.grade_batch([problem(f"{module}:hangs")] * 3, texts)
    assert [grade.verdict for grade in grades] == [Verdict.CORRECT, Verdict.TIMED_OUT, Verdict.CORRECT]
    grades = grader.grade_batch([problem(f"{module}:kills")] * 3, ["a", "kill", "b"])
    assert [grade.verdict for grade in grades] == [Verdict.CORRECT, Verdict.CRASHED, Verdict.CORRECT]


def test_a_long_completion_does_not_block_on_a_worker_that_stands_still(module: str) -> None:
    """A pipe takes 64 kB; the deadline has to hold for what does not fit."""
    own = problem(f"{module}:length")
    with Grader(workers=1, deadline_s=1.0) as grader:
        grader.grade(own, "a")
        (pid,) = grader.reward_pool.pids
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        grade = grader.grade(own, SampledText("a" * 1_000_000, tokens=5))
        assert (grade.verdict, grade.reward) == (Verdict.CORRECT, 0.5)  # a second try, in another worker
        assert time.monotonic() - started < 30
        assert pid not in grader.reward_pool.pids


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no_such_module:reward", "no_such_module cannot be imported (ModuleNotFoundError"),
        ("no/such/file.py:reward", "there is no file"),
        ("json:no_such_function", "json has no function no_such_function"),
        ("json:loads:more", "cannot be imported"),
        (":x", "write module:function"),
        ("json:", "write module:function"),
        ("maths", "unknown verifier 'maths'; known:"),
    ],
)
def test_names_are_checked_before_anything_starts(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="verifier") as caught:
        MathTextEnv(verifier=name)
    assert complaint in str(caught.value)


def test_a_file_may_have_any_name_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / "helpers_of_mine.py").write_text("BONUS = 0.25\n")
    for folder in (tmp_path, tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        (folder / "json.py").write_text(
            "from helpers_of_mine import BONUS\n"
            f"def reward(completion, problem):\n    return BONUS + {len(folder.name)}e-6\n"
        )
    for folder in (tmp_path, tmp_path / "other"):
        function = load_reward(f"{folder}/json.py:reward")
        assert function(SampledText(""), problem("")) == pytest.approx(0.25 + len(folder.name) * 1e-6)
    assert json.loads("1") == 1
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("import sys\nsys.exit('usage: --needed')", "cannot be imported (SystemExit: usage: --needed)"),
        ("def reward(completion): return 1", "it is called with (completion, problem), and takes (completion)"),
        ("def reward(*, completion, problem): return 1", "it is called with (completion, problem)"),
        ("reward = 5", "has no function reward"),
    ],
)
def test_what_cannot_be_called_is_refused_at_once(tmp_path: Path, code: str, complaint: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(ValueError, match="verifier") as caught:
        get_verifier(f"{tmp_path}/mine.py:reward")
    assert complaint in str(caught.value)


def test_what_a_function_starts_ends_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import subprocess\n"
        "def reward(completion, problem):\n"
        f"    child = subprocess.Popen(['sleep', '300'])\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "    child.wait()\n"
    )
    with Grader(workers=1, deadline_s=0.5) as grader:
        assert grader.grade(problem(f"{tmp_path}/mine.py:reward"), "a").verdict is Verdict.TIMED_OUT
    pid, limit = int((tmp_path / "pid").read_text()), time.monotonic() + 5
    while time.monotonic() < limit and Path(f"/proc/{pid}").exists():
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_the_rules_are_at_hand_in_the_form_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from aepo_rllib.envs.grading.rules import judge\n"
        "def reward(completion, problem):\n    return judge(problem, completion) / 2\n"
    )
    own = Problem("p", "", r"\frac12", f"{tmp_path}/mine.py:reward")
    with Grader(workers=1) as grader:
        assert grader.grade(own, "Answer: 0.5", form="answer-line").reward == 0.5
        assert grader.grade(own, "Answer: 0.5").reward == 0.0
        assert grader.grade(own, r"\boxed{2/4}").reward == 0.5


def test_an_error_goes_with_the_info_of_its_episode(module: str) -> None:
    env = MathTextEnv(problems="sum3", verifier=f"{module}:raises")
    env.reset(options={"problem_index": 0})
    assert "KeyError: 'no a'" in env.step("a")[4]["grader_error"]
    env.grader.close()


def test_a_module_that_raises_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("1 / 0\n")
    with pytest.raises(ValueError, match=r"broken\.py cannot be imported \(ZeroDivisionError: division by zero\)"):
        get_verifier(f"{file}:reward")


def test_environments_take_a_reward_of_ones_own(module: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"problem": "q1", "answer": "7"}, {"problem": "q2", "answer": "7", "verifier": "math"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    env = MathTextVectorEnv(2, problems=str(file), verifier=f"{module}:length")
    env.reset(options={"problem_index": [0, 1]})
    _, rewards, _, _, infos = env.step([SampledText("abc", tokens=5), r"\boxed{7}"])
    assert rewards.tolist() == [0.5, 1.0]
    assert infos["verdict"].tolist() == ["correct", "correct"]
    env.grader.close()


def test_the_example_is_dapos_penalty() -> None:
    """Numbers of verl's DAPO reward manager and of TRL's soft_overlong_punishment."""
    spec = importlib.util.spec_from_file_location("own_reward", ROOT / "examples/own_reward.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for peer, lengths, base in (("verl", "valid_response_length", 1.0), ("trl", "lengths", 0.0)):
        cases = json.loads((ROOT / f"tests/golden/{peer}.json").read_text())["cases"]
        (case,) = (case for case in cases if "overlong" in case["name"])
        limit, cache = list(case["args"].values())[:2]
        ours = [base + example.overlong_penalty(tokens, limit, cache) for tokens in case["inputs"][lengths]]
        assert ours == pytest.approx(case["outputs"]["reward"])
    right = example.reward(SampledText(r"\boxed{7}", tokens=5), problem("math"))
    assert right == Score(1.1, correct=True)
    assert example.reward(SampledText(r"\boxed{8}", tokens=60), problem("math")) == Score(-0.75, correct=False)


def test_the_processes_of_rewards_are_tested(module: str, tmp_path: Path) -> None:
    """A worker that calls everything right is found out, whichever function it was asked for."""
    command = tmp_path / "flatterer.py"
    command.write_text(
        "import json, sys\n"
        "print(json.dumps({'ready': True}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    reply = {'id': json.loads(line)['id'], 'reward': 1.0, 'correct': True, 'answer': None}\n"
        "    print(json.dumps(reply), flush=True)\n"
    )
    with Grader(workers=1) as honest:
        honest.grade(problem(f"{module}:length"), "a")
        honest.self_test()
    with Grader(workers=1, command=[sys.executable, str(command)]) as flatterer:
        flatterer.self_test()  # no process yet, and nothing to find
        assert flatterer.grade(problem(f"{module}:length"), "a").reward == 1.0
        with pytest.raises(GraderBroken, match=r"a reward that is 0\.125 came back as 1\.0"):
            flatterer.self_test()


def test_threads_share_a_grader_of_own_rewards(grader: Grader, module: str) -> None:
    found: list[float] = []

    def grade(tokens: int) -> None:
        found.append(grader.grade(problem(f"{module}:length"), SampledText("a", tokens=tokens)).reward)

    threads = [threading.Thread(target=grade, args=(tokens,)) for tokens in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == pytest.approx([tokens / 10 for tokens in range(1, 9)])
