"""Worker processes that are killed, stopped, broken or abandoned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aepo_rllib.envs.grading.pool import WorkerPool
from aepo_rllib.envs.verdict import Verdict

pytestmark = pytest.mark.process

HANGER = ("3", r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}")
RIGHT = [(rf"\frac{{{i}}}{{7}}", f"{i}/7") for i in range(1, 30)]
WRONG = [(rf"\frac{{{i}}}{{7}}", f"{i}/9") for i in range(1, 30)]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


def wait_until_gone(pids: list[int], limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if all(gone(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_killed_workers_change_no_verdict() -> None:
    pool = WorkerPool(2, 3.0)
    pool.grade(RIGHT[:2])
    killed = []

    def kill_now_and_then() -> None:
        for _ in range(4):
            time.sleep(0.15)
            if pids := pool.pids:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

    killer = threading.Thread(target=kill_now_and_then)
    pairs = [pair for both in zip(RIGHT, WRONG, strict=True) for pair in both] * 20
    killer.start()
    verdicts = pool.grade(pairs)
    killer.join()
    assert verdicts == [Verdict.CORRECT, Verdict.WRONG] * (len(pairs) // 2)
    assert killed
    assert pool.grade(RIGHT) == [Verdict.CORRECT] * len(RIGHT)
    pool.close()


def test_workers_killed_while_they_start_change_no_verdict() -> None:
    """More kills in a row than start failures are forgiven."""
    pool = WorkerPool(1, 3.0)
    killed: list[int] = []

    def kill_the_first_five() -> None:
        while len(killed) < 5:
            for pid in set(pool.pids) - set(killed):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.001)

    killer = threading.Thread(target=kill_the_first_five)
    killer.start()
    assert pool.grade(RIGHT) == [Verdict.CORRECT] * len(RIGHT)
    killer.join(timeout=60)
    assert len(killed) == 5
    pool.close()


def test_an_idle_worker_that_was_killed_is_replaced() -> None:
    pool = WorkerPool(1, 3.0)
    pool.grade(RIGHT[:1])
    [pid] = pool.pids
    os.kill(pid, signal.SIGKILL)
    assert pool.grade(RIGHT[:3]) == [Verdict.CORRECT] * 3
    assert pool.pids != [pid]
    pool.close()


def test_what_hangs_twice_times_out_and_its_workers_are_replaced() -> None:
    pool = WorkerPool(1, 1.0)
    pool.grade(RIGHT[:1])
    [pid] = pool.pids
    start = time.monotonic()
    assert pool.grade([HANGER]) == [Verdict.TIMED_OUT]
    assert 2.0 <= time.monotonic() - start < 6.0
    assert gone(pid)
    assert not pool.started
    assert pool.grade(RIGHT[:1]) == [Verdict.CORRECT]
    pool.close()


def test_close_leaves_no_child_and_the_pool_usable() -> None:
    pool = WorkerPool(2, 3.0)
    assert not pool.started
    assert pool.grade([]) == []
    assert not pool.started
    pool.grade(RIGHT)
    pids = pool.pids
    assert len(pids) == 2
    pool.close()
    assert all(gone(pid) for pid in pids)
    assert not pool.started
    assert pool.grade(RIGHT[:1]) == [Verdict.CORRECT]
    pool.close()


def test_only_as_many_workers_start_as_there_is_work_for() -> None:
    pool = WorkerPool(4, 3.0)
    pool.grade(RIGHT[:1])
    assert len(pool.pids) == 1
    pool.close()


def test_a_dropped_pool_ends_its_workers() -> None:
    pool = WorkerPool(1, 3.0)
    pool.grade(RIGHT[:1])
    pids = pool.pids
    del pool
    assert wait_until_gone(pids, 5)


def test_workers_are_replaced_after_so_many_requests() -> None:
    pool = WorkerPool(1, 3.0, max_served=5)
    pool.grade(RIGHT[:1])
    before = pool.pids
    assert pool.grade(RIGHT[:8]) == [Verdict.CORRECT] * 8
    assert pool.pids != before
    pool.close()


def test_memory_bombs_do_not_reach_the_parent() -> None:
    pool = WorkerPool(1, 1.0)
    verdicts = pool.grade([("3", "2^{10^{10}}"), ("3", "(10^8)!"), *RIGHT[:1]])
    assert verdicts[0] is not Verdict.CORRECT
    assert verdicts[1] is not Verdict.CORRECT
    assert verdicts[2] is Verdict.CORRECT
    pool.close()


SCRIPT = """
import os, sys, threading, time
from aepo_rllib.envs.grading.pool import WorkerPool
pool = WorkerPool(1, {deadline_s})
pool.grade([("x", "y")])
print(pool.pids[0], flush=True)
{then}
"""


def run_parent(then: str, deadline_s: float) -> tuple[subprocess.Popen[str], int]:
    code = SCRIPT.format(deadline_s=deadline_s, then=then)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def test_workers_end_with_an_unguarded_script() -> None:
    """The script has no `if __name__ == "__main__"` and does not close its pool."""
    parent, worker = run_parent("", 3.0)
    assert parent.wait(20) == 0
    assert wait_until_gone([worker], 5)


def test_an_idle_worker_ends_when_its_parent_is_killed() -> None:
    parent, worker = run_parent("time.sleep(60)", 3.0)
    parent.kill()
    parent.wait(20)
    assert wait_until_gone([worker], 5)


def test_a_lost_worker_ends_when_its_parent_is_killed() -> None:
    then = f"threading.Timer(0.3, lambda: os.kill(os.getpid(), 9)).start(); pool.grade([{HANGER!r}])"
    parent, worker = run_parent(then, 1.0)
    parent.wait(20)
    assert not gone(worker)
    assert wait_until_gone([worker], 6)


def test_ctrl_c_leaves_the_pool_usable() -> None:
    then = f"""
threading.Timer(0.3, lambda: os.kill(os.getpid(), 2)).start()
try:
    pool.grade([{HANGER!r}])
except KeyboardInterrupt:
    print([verdict.value for verdict in pool.grade([(chr(92) + "frac12", "0.5")])], flush=True)
"""
    parent, worker = run_parent(then, 30.0)
    assert parent.stdout is not None
    assert parent.stdout.readline().strip() == "['correct']"
    assert parent.wait(20) == 0
    assert wait_until_gone([worker], 5)


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("raise SystemExit('no such library')", "did not start .*no such library"),
        ("print(1)", "they said nothing"),
        ("import os; os.kill(os.getpid(), 9)", "killed while they started"),
    ],
)
def test_workers_that_do_not_start_are_an_error(code: str, complaint: str) -> None:
    pool = WorkerPool(2, 1.0, command=(sys.executable, "-c", code))
    with pytest.raises(RuntimeError, match=complaint):
        pool.grade(RIGHT)
    pool.close()


ODD_WORKER = """
import json, os, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["answer"] == "die":
        os._exit(1)
    if request["answer"] == "rave":
        print("no json", flush=True)
    elif request["answer"] == "fail":
        print(json.dumps({"id": request["id"], "error": "ValueError: no"}), flush=True)
    else:
        print(json.dumps({"id": request["id"], "equal": request["gold"] == request["answer"]}), flush=True)
"""


def test_a_request_that_loses_two_workers_crashed() -> None:
    pool = WorkerPool(2, 1.0, command=(sys.executable, "-c", ODD_WORKER))
    answers = ["a", "die", "b", "rave", "a", "fail", "a"]
    assert [verdict.value for verdict in pool.grade([("a", answer) for answer in answers])] == [
        "correct",
        "grader_crashed",
        "wrong",
        "grader_crashed",
        "correct",
        "grader_crashed",
        "correct",
    ]
    pool.close()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is new in Python 3.11")
def test_the_working_directory_is_not_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sympy.py").write_text("raise SystemExit('the wrong sympy')")
    monkeypatch.chdir(tmp_path)
    pool = WorkerPool(1, 3.0)
    assert pool.grade(RIGHT[:1]) == [Verdict.CORRECT]
    pool.close()
