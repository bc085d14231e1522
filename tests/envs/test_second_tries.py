"""Comparisons that time out are tried once more: what stood still is judged, what hangs is not waited for long."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.grading.pool import WorkerPool
from aepo_rllib.envs.grading.round import SECOND_TRIES_DEADLINES
from aepo_rllib.envs.problems import Problem
from aepo_rllib.envs.verdict import Verdict

pytestmark = pytest.mark.process

SURD = Problem(id="surd", text="", answer=r"\frac{\sqrt{2}}{2}")
SPELLINGS = (r"\frac{1}{\sqrt{2}}", r"\sqrt{0.5}", r"\sqrt{\frac{1}{2}}", r"2^{-0.5}")
DEADLINE_S = 0.4
# Does as its requests say, and notes in the folder of its first argument when it was at work on what.
WORKER = """
import contextlib, json, os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with contextlib.suppress(FileNotFoundError):
    (folder / "one-hangs-at-start").rename(folder / "hangs")
    time.sleep(1000)
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    gold, begun = request["gold"], time.monotonic()
    with open(folder / "log", "a") as log:
        log.write(f"{gold} {os.getpid()} {begun}\\n")
    first = not (folder / gold).exists()
    (folder / gold).touch()
    while gold.startswith("hang") or (gold.startswith("stall") and first):
        time.sleep(1)
    time.sleep(0.02)
    print(json.dumps({"id": request["id"], "equal": True}), flush=True)
"""


class Try(NamedTuple):
    gold: str
    pid: int
    begun: float


class Trial(NamedTuple):
    verdicts: list[Verdict]
    tries: list[Try]
    seconds: float

    def second(self) -> list[Try]:
        """The tries of what had been tried before."""
        return [this for n, this in enumerate(self.tries) if this.gold in {seen.gold for seen in self.tries[:n]}]


def graded(folder: Path, size: int, golds: list[str]) -> Trial:
    pool = WorkerPool(size, DEADLINE_S, command=(sys.executable, "-c", WORKER, str(folder)))
    start = time.monotonic()
    verdicts = pool.grade([(gold, "x") for gold in golds])
    seconds = time.monotonic() - start
    pool.close()
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    return Trial(verdicts, [Try(gold, int(pid), float(begun)) for gold, pid, begun in lines], seconds)


@pytest.fixture(params=[1, 2])
def warm(request: pytest.FixtureRequest) -> Iterator[Grader]:
    with Grader(workers=request.param, deadline_s=1.5) as grader:
        grader.grade_batch([SURD] * 40, [rf"\boxed{{{n}.5}}" for n in range(40)])
        assert len(grader.pool.pids) == request.param
        yield grader


def test_stopped_workers_cost_no_verdict(warm: Grader) -> None:
    stopped = warm.pool.pids
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    grades = warm.grade_batch([SURD] * 16, [rf"\boxed{{{SPELLINGS[n % 4]}}}" for n in range(16)])
    assert [grade.verdict for grade in grades] == [Verdict.CORRECT] * 16
    assert not set(stopped) & set(warm.pool.pids)


def test_what_stalled_is_tried_again_in_a_new_worker_with_nothing_beside_it(tmp_path: Path) -> None:
    golds = [f"{kind}-{n}" for n in range(6) for kind in ("stall", "quick")]
    trial = graded(tmp_path, 3, golds)
    assert trial.verdicts == [Verdict.CORRECT] * 12
    first, second = [this for this in trial.tries if this not in trial.second()], trial.second()
    assert sorted(this.gold for this in second) == sorted(gold for gold in golds if gold.startswith("stall"))
    assert {this.pid for this in first}.isdisjoint(this.pid for this in second)
    assert max(this.begun for this in first) < min(this.begun for this in second)
    assert len({this.pid for this in second}) == 1


def test_many_that_hang_cost_a_call_a_few_deadlines_more(tmp_path: Path) -> None:
    golds = [f"hang-{n}" for n in range(10)] + ["quick"]
    trial = graded(tmp_path, 2, golds)
    assert trial.verdicts == [Verdict.TIMED_OUT] * 10 + [Verdict.CORRECT]
    assert len(trial.second()) == SECOND_TRIES_DEADLINES
    assert trial.seconds < (5 + SECOND_TRIES_DEADLINES) * (DEADLINE_S + 0.5)


def test_those_that_hang_leave_room_for_those_that_stalled(tmp_path: Path) -> None:
    golds = ["hang-0", "hang-1", *(f"stall-{n}" for n in range(8))]
    assert graded(tmp_path, 2, golds).verdicts == [Verdict.TIMED_OUT] * 2 + [Verdict.CORRECT] * 8


def test_a_worker_that_stands_still_while_it_starts_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "one-hangs-at-start").touch()
    trial = graded(tmp_path, 2, ["stall-0", "quick"])
    assert trial.verdicts == [Verdict.CORRECT] * 2
    assert (tmp_path / "hangs").exists()
    assert trial.seconds < 20
