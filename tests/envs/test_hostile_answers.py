"""A storm of hostile answers, and hostile known answers, against real worker processes."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from aepo_rllib.envs.grading import Grade, Grader, extract_answer, get_verifier
from aepo_rllib.envs.grading.process import WorkerProcess
from aepo_rllib.envs.grading.round import SECOND_TRIES_DEADLINES, Round
from aepo_rllib.envs.grading.service import MAX_DETOUR_CHARS
from aepo_rllib.envs.problems import Problem
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS
from aepo_rllib.envs.verdict import Verdict
from tests.support.hostile_answers import EQUAL, GOLDS, GROUPS, HANGING, QUICK, SLOW, SLOW_GOLDS

pytestmark = pytest.mark.process

DEADLINE_S = 1.0
# What a comparison may take beyond its deadline: noticing that takes milliseconds, but two cores may be busy.
MARGIN_S = 0.5
# What a new worker takes for its imports, on two busy cores.
START_S = 2.0
# Quick pairs take milliseconds, but a busy machine may stand still for as long as a deadline.
TIMED_OUT_SHARE = 0.01
# sympy's kinds of integer, and which pairs meet them: every so many, since most never come to big integers. gmpy's come
# with this package.
GROUND_TYPES = {"python": 2, "gmpy": 8}
STORMS = ["gmpy", *(pytest.param(of, marks=pytest.mark.slow) for of in ("python", "python, all pairs"))]
Pair = tuple[str, str]

ORDINARY = [
    *[(str(n), f"{n}.0", Verdict.CORRECT) for n in range(3, 9)],
    *[(rf"\frac{{{n}}}{{7}}", f"{n}/7", Verdict.CORRECT) for n in range(1, 7)],
    *[(rf"\{{1,{n}\}}", rf"\{{{n},1\}}", Verdict.CORRECT) for n in range(3, 7)],
    *[(f"[0,{n})", f"[0, {n})", Verdict.CORRECT) for n in range(3, 5)],
    (r"\text{Evelyn}", "Evelyn", Verdict.CORRECT),
    (r"2\sqrt{3}", r"\sqrt{12}", Verdict.CORRECT),
    *[(str(n), f"{n}.5", Verdict.WRONG) for n in range(3, 9)],
    *[(rf"\frac{{{n}}}{{7}}", f"{n}/9", Verdict.WRONG) for n in range(1, 7)],
    *[(rf"\{{1,{n}\}}", rf"\{{{n},2\}}", Verdict.WRONG) for n in range(3, 7)],
    *[(f"[0,{n})", f"[0,{n}]", Verdict.WRONG) for n in range(3, 5)],
    (r"\text{Evelyn}", "Angela", Verdict.WRONG),
    (r"2\sqrt{3}", r"\sqrt{13}", Verdict.WRONG),
]
RIGHT = [(gold, answer) for gold, answer, expected in ORDINARY if expected is Verdict.CORRECT]


class Storm(NamedTuple):
    """What happened while the hostile pairs were graded."""

    rows: list[Pair]
    grades: list[Grade]
    hanging: list[Verdict]
    hanging_s: float
    tries_s: list[float]
    ordinary: list[Verdict]
    worker_folders: set[str]
    left_over: list[int]
    folder: Path
    connected: bool
    same_surroundings: bool


def graded(grader: Grader, pairs: Sequence[Pair]) -> list[Grade]:
    problems = [Problem(id=str(i), text="", answer=gold) for i, (gold, _) in enumerate(pairs)]
    return grader.grade_batch(problems, [rf"\boxed{{{answer}}}" for _, answer in pairs])


def verdicts(grader: Grader, pairs: Sequence[Pair]) -> list[Verdict]:
    return [grade.verdict for grade in graded(grader, pairs)]


def ordinary(grader: Grader) -> list[Verdict]:
    return verdicts(grader, [(gold, answer) for gold, answer, _ in ORDINARY])


def with_right_answers(pairs: Sequence[Pair]) -> list[Pair]:
    """A correct answer after every 40th pair: verdicts that slip by one place show."""
    mixed = []
    for i, pair in enumerate(pairs):
        mixed += [pair, RIGHT[i // 40 % len(RIGHT)]] if i % 40 == 0 else [pair]
    return mixed


def warm(grader: Grader) -> None:
    """Let all workers start."""
    verdicts(grader, [(rf"\frac{{{n}}}{{7}}", "x") for n in range(20)])


def timed_tries(patch: pytest.MonkeyPatch) -> list[float]:
    """Where the seconds are put that each try of a comparison takes from now on, until it has its verdict."""
    tries: list[float] = []
    close = Round._close

    def close_and_note(self: Round, worker: WorkerProcess, request: int, verdict: Verdict) -> None:
        tries.append(time.monotonic() - worker.sent)
        close(self, worker, request, verdict)

    patch.setattr(Round, "_close", close_and_note)
    return tries


def still_there(pids: Sequence[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def require(ground_types: str) -> None:
    """Skip where workers, which inherit the environment, would not use these ground types."""
    code = "from sympy.external.gmpy import GROUND_TYPES; print(GROUND_TYPES)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    if done.stdout.strip() != ground_types:
        pytest.skip(f"sympy has no {ground_types} ground types here")


@pytest.fixture(scope="module", params=STORMS)
def storm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    folder = tmp_path_factory.mktemp("storm")
    (folder / "KEEP").touch()
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as server:
        ground_types, _, all_pairs = request.param.partition(", ")
        patch.setenv("SYMPY_GROUND_TYPES", ground_types)
        patch.chdir(folder)
        require(ground_types)
        surroundings = dict(os.environ), os.getcwd()
        pairs = [*with_right_answers(QUICK[:: 1 if all_pairs else GROUND_TYPES[ground_types]]), *EQUAL]
        port = str(server.getsockname()[1])
        rows = [(gold.replace("PORT", port), answer.replace("PORT", port)) for gold, answer in pairs]
        with Grader(workers=2, deadline_s=DEADLINE_S) as grader:
            grades = graded(grader, rows)
            warm(grader)
            tries, start = timed_tries(patch), time.monotonic()
            hanging = verdicts(grader, HANGING)
            hanging_s, tries = time.monotonic() - start, list(tries)
            after = ordinary(grader)
            pids = grader.pool.pids
            worker_folders = {os.readlink(f"/proc/{pid}/cwd") for pid in pids}
        yield Storm(
            rows=rows,
            grades=grades,
            hanging=hanging,
            hanging_s=hanging_s,
            tries_s=tries,
            ordinary=after,
            worker_folders=worker_folders,
            left_over=still_there(pids),
            folder=folder,
            connected=bool(select.select([server], [], [], 0)[0]),
            same_surroundings=surroundings == (dict(os.environ), os.getcwd()),
        )


def test_the_suite_is_as_large_as_it_claims() -> None:
    assert len(set(QUICK) | set(SLOW) | set(SLOW_GOLDS)) >= 1800
    assert len(ORDINARY) == 40
    assert min(map(len, GROUPS.values())) >= 9


def test_every_pair_has_its_verdict_in_order(storm: Storm) -> None:
    assert [grade.answer for grade in storm.grades] == [extract_answer(rf"\boxed{{{text}}}") for _, text in storm.rows]
    for grade in storm.grades:
        assert (grade.verdict is Verdict.NO_ANSWER) == (grade.answer is None)
    seen = Counter(grade.verdict for grade in storm.grades)
    assert seen[Verdict.CRASHED] == 0
    assert seen[Verdict.TIMED_OUT] <= TIMED_OUT_SHARE * len(storm.grades)


def test_only_right_answers_are_correct(storm: Storm) -> None:
    correct = [row for row, grade in zip(storm.rows, storm.grades, strict=True) if grade.verdict is Verdict.CORRECT]
    assert correct == [row for row in storm.rows if row in RIGHT or row in EQUAL]
    assert set(storm.hanging) <= {Verdict.TIMED_OUT, Verdict.CRASHED, Verdict.WRONG}


def test_every_comparison_ends_at_its_deadline_and_a_few_are_tried_again(storm: Storm) -> None:
    assert len(storm.hanging) == len(HANGING)
    assert storm.hanging.count(Verdict.TIMED_OUT) > SECOND_TRIES_DEADLINES
    assert max(storm.tries_s) < DEADLINE_S + MARGIN_S
    assert len(HANGING) < len(storm.tries_s) <= len(HANGING) + SECOND_TRIES_DEADLINES + 1
    assert storm.hanging_s < (math.ceil(len(HANGING) / 2) + SECOND_TRIES_DEADLINES + 1) * (DEADLINE_S + START_S)


def test_nothing_was_run(storm: Storm) -> None:
    assert [path.name for path in storm.folder.iterdir()] == ["KEEP"]
    assert storm.worker_folders == {str(storm.folder)}
    assert storm.same_surroundings
    assert not storm.connected


def test_ordinary_answers_are_judged_right_after_the_storm(storm: Storm) -> None:
    assert storm.ordinary == [expected for _, _, expected in ORDINARY]


def test_no_worker_is_left_after_the_storm(storm: Storm) -> None:
    assert storm.left_over == []


@pytest.mark.slow
@pytest.mark.parametrize("ground_types", list(GROUND_TYPES))
def test_every_slow_answer_ends(ground_types: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPY_GROUND_TYPES", ground_types)
    require(ground_types)
    tries = timed_tries(monkeypatch)
    with Grader(workers=2, deadline_s=DEADLINE_S) as grader:
        assert not {Verdict.CORRECT, Verdict.NO_ANSWER} & set(verdicts(grader, [*SLOW, *SLOW_GOLDS]))
        assert max(tries) < DEADLINE_S + MARGIN_S
        assert ordinary(grader) == [expected for _, _, expected in ORDINARY]


@pytest.mark.parametrize("rule", ["math", "math-percent", "math-numeric", "qwen2.5-math"])
def test_long_answers_to_short_problems_are_judged_at_once(rule: str) -> None:
    """A policy that fills its boxes as far as they are read costs no worker anything."""
    units = sorted({text[:size] for texts in GROUPS.values() for text in texts for size in (1, 3, 8)})
    texts = [rf"\boxed{{{(unit * MAX_ANSWER_CHARS)[:MAX_ANSWER_CHARS]}}}" for unit in units if unit]
    problems = [Problem(id=str(i), text="", answer=GOLDS[i % len(GOLDS)], verifier=rule) for i in range(len(texts))]
    with Grader(workers=2, deadline_s=DEADLINE_S) as grader:
        start = time.monotonic()
        grades = [
            grade
            for problem, text in zip(problems, texts, strict=True)
            if len(get_verifier(rule).extract(problem, text, "box") or "") > MAX_DETOUR_CHARS + len(problem.answer)
            for grade in [grader.grade(problem, text)]
        ]
        assert time.monotonic() - start < 0.02 * len(texts)
        assert not grader.pool.started
    assert len(grades) > len(texts) / 4
    assert {grade.verdict for grade in grades} == {Verdict.WRONG}


def test_a_storm_from_another_thread() -> None:
    seen: list[list[Verdict]] = []

    def work() -> None:
        with Grader(workers=2, deadline_s=DEADLINE_S) as grader:
            seen.append(verdicts(grader, QUICK[::16] + HANGING[:2]))
            seen.append(ordinary(grader))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    hostile, after = seen
    assert not {Verdict.CORRECT, Verdict.CRASHED} & set(hostile)
    assert after == [expected for _, _, expected in ORDINARY]


def test_a_storm_inside_a_ray_actor(ray_cluster: None, tmp_path: Path) -> None:
    import ray

    class Actor:
        def grade(self, folder: str, problems: list[Problem], completions: list[str]) -> list[str]:
            os.chdir(folder)
            with Grader(workers=1, deadline_s=DEADLINE_S) as grader:
                return [grade.verdict.value for grade in grader.grade_batch(problems, completions)]

    rows = [*QUICK[:: len(QUICK) // 36], *HANGING[:2], *[(gold, answer) for gold, answer, _ in ORDINARY[::4]]]
    problems = [Problem(id=gold, text="", answer=gold) for gold, _ in rows]
    actor = ray.remote(Actor).remote()
    seen = ray.get(actor.grade.remote(str(tmp_path), problems, [rf"\boxed{{{a}}}" for _, a in rows]), timeout=60)
    ray.kill(actor)
    expected = [verdict.value for _, _, verdict in ORDINARY[::4]]
    assert seen[-len(expected) :] == expected
    assert not {"correct", "grader_crashed"} & set(seen[: -len(expected)])
    assert list(tmp_path.iterdir()) == []


def test_killed_workers_in_a_storm_cost_no_ordinary_answer_its_verdict() -> None:
    hostile = QUICK[::80] + HANGING[:2]
    rows = [(gold, answer) for gold, answer, _ in ORDINARY]
    killed: list[int] = []
    done = threading.Event()
    with Grader(workers=2, deadline_s=DEADLINE_S) as grader:
        ordinary(grader)  # workers are up

        def kill_now_and_then() -> None:
            while len(killed) < 3 and not done.wait(0.7):
                with contextlib.suppress(IndexError, ProcessLookupError):  # it is being replaced just now
                    pid = grader.pool.pids[-1]
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            during = verdicts(grader, [*hostile, *rows, *HANGING[2:4]])
        finally:
            done.set()
            killer.join()
        after = ordinary(grader)
    expected = [verdict for _, _, verdict in ORDINARY]
    assert len(set(killed)) == 3
    assert Verdict.CORRECT not in during[: len(hostile)]
    assert during[len(hostile) :][: len(rows)] == expected
    assert after == expected


@pytest.mark.parametrize("rule", ["math-percent", "math-numeric", "qwen2.5-math"])
def test_the_other_rules_stand_the_storm_too(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule fails on an answer: what it cannot read or evaluate is wrong, or out of time."""
    monkeypatch.chdir(tmp_path)
    pairs = QUICK[::15]
    problems = [Problem(id=str(i), text="", answer=gold, verifier=rule) for i, (gold, _) in enumerate(pairs)]
    with Grader(workers=2, deadline_s=DEADLINE_S) as grader:
        seen = Counter(
            grade.verdict for grade in grader.grade_batch(problems, [rf"\boxed{{{answer}}}" for _, answer in pairs])
        )
    assert sum(seen.values()) == len(pairs)
    assert seen[Verdict.CRASHED] == 0
    assert seen[Verdict.TIMED_OUT] <= max(2, 2 * TIMED_OUT_SHARE * len(pairs))
    assert not list(tmp_path.iterdir())
