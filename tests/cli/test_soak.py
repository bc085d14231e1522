"""Ten minutes in which something is killed or stopped every few seconds: the run ends well, and learns the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.support.command import alive, children, records

pytestmark = pytest.mark.process

QUIET_STEPS, WINDOW = 60, 20
UNDISTURBED_S = 240.0
"""So long would the disturbed run take if it were let alone; it takes more than ten minutes."""
REWARD_NOISE, ENTROPY_NOISE = 0.08, 0.03
"""Two seeds of the quiet run differ by so much in the mean of 20 steps."""
MIB_A_MINUTE, WARM_UP_S = 1.0, 240.0
RUNNER, GRADER = "TextEnvRunner", "grading.worker"


class Look(NamedTuple):
    """What the run's own process takes at a moment."""

    seconds: float
    kib: int
    descriptors: int


def command_line(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def start(folder, name, steps):
    problems = folder / "sums.jsonl"
    rng = random.Random(0)
    rows = [(a := rng.randint(1, 20), b := rng.randint(1, 20), rng.randint(1, 9), a + b) for _ in range(600)]
    # "12+0" is no plain number, so that every verdict is a worker's.
    texts = [
        {"id": str(n), "problem": f"{a}+{b}={c}?", "answer": f"{total}+0"} for n, (a, b, c, total) in enumerate(rows)
    ]
    problems.write_text("".join(json.dumps(row) + "\n" for row in texts))
    settings = ("evaluation_interval=null", "checkpoint_every=10", "sample_timeout_s=40", "env_config.grader_workers=2")
    command = [
        sys.executable, "-m", "aepo_rllib.cli.main", "train", "--problems", problems, "--steps", steps, "--seed", 7,
        "--batch-size", 4, "--group-size", 4, "--num-env-runners", 2, "--output", folder / name,
        *(word for setting in settings for word in ("--set", setting)),
    ]  # fmt: skip
    log = (folder / f"{name}.log").open("w")
    return subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT)


def means(run, figure):
    values = [record[figure] for record in records(run)]
    return [float(np.mean(values[begin : begin + WINDOW])) for begin in range(0, QUIET_STEPS, WINDOW)]


def disturb(process, run, family, looks):
    """Kill and stop env runners and graders until the run ends; the hits by kind."""
    rng, stopped, hits = random.Random(3), [], []
    started = time.monotonic()
    due = started + 8
    while process.poll() is None:
        now = time.monotonic()
        kin = {pid: command_line(pid) for pid in children(process.pid)}
        family |= {pid: line for pid, line in kin.items() if line}
        if (run / "metrics.jsonl").is_file() and now > due:
            due = now + rng.uniform(6, 14)
            kind, number = rng.choice([(RUNNER, signal.SIGKILL), (RUNNER, signal.SIGSTOP), (GRADER, signal.SIGKILL),
                                       (GRADER, signal.SIGSTOP), (RUNNER, signal.SIGKILL)])  # fmt: skip
            if victims := [pid for pid, line in kin.items() if kind in line]:
                victim = rng.choice(victims)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, number)
                    hits.append((kind, number.name))
                    if number == signal.SIGSTOP:
                        stopped.append((now + rng.choice([5, 15, 60]), victim))
        for until, pid in [entry for entry in stopped if entry[0] < now]:
            stopped.remove((until, pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            # Without what it sees of Ray's object store, which is as large as Ray wants it.
            own = int(status.partition("RssAnon:")[2].split()[0])
            looks.append(Look(now - started, own, len(os.listdir(f"/proc/{process.pid}/fd"))))
        assert now - started < 3600, "the run hangs"
        time.sleep(2)
    return hits


@pytest.mark.slow
def test_a_run_that_is_disturbed_all_the_time_ends_as_one_that_is_not(tmp_path):
    quiet = start(tmp_path, "quiet", QUIET_STEPS)
    assert quiet.wait(timeout=900) == 0, (tmp_path / "quiet.log").read_text()
    run, family, looks = tmp_path / "chaos", {}, []
    first, *_, last = records(tmp_path / "quiet")
    total = int(UNDISTURBED_S * (QUIET_STEPS - 1) / (last["time"] - first["time"]))
    process = start(tmp_path, "chaos", total)
    hits = disturb(process, run, family, looks)
    said = (tmp_path / "chaos.log").read_text()
    print(f"{looks[-1].seconds:.0f} s; hits: { {hit: hits.count(hit) for hit in set(hits)} }")
    assert process.returncode == 0, said
    assert len(hits) >= 30
    steps = records(run)
    assert [record["step"] for record in steps] == list(range(1, total + 1))

    for figure, noise in (("main/reward_mean", REWARD_NOISE), ("main/exact_entropy", ENTROPY_NOISE)):
        print(figure, means(run, figure), means(tmp_path / "quiet", figure))
        assert means(run, figure) == pytest.approx(means(tmp_path / "quiet", figure), abs=noise)
    assert max(record["update/first_ratio_max_deviation"] for record in steps) < 1e-3

    healthy = [record["throughput/healthy_env_runners"] for record in steps]
    print("steps with 0, 1, 2 env runners:", [healthy.count(number) for number in (0, 1, 2)])
    falls = sum(after < before for before, after in zip([2, *healthy], healthy, strict=False))
    assert said.count("env runners are left") == falls

    warm = [look for look in looks if look.seconds > min(WARM_UP_S, looks[-1].seconds / 2)]
    third = len(warm) // 3
    begin, end = warm[:third], warm[-third:]
    # Medians: at every checkpoint the weights come and go.
    begin_mib, end_mib = (float(np.median([look.kib for look in part])) / 1024 for part in (begin, end))
    minutes = (np.median([look.seconds for look in end]) - np.median([look.seconds for look in begin])) / 60
    slope = (end_mib - begin_mib) / minutes
    most = [max(look.descriptors for look in part) for part in (begin, end)]
    print(f"driver: {begin_mib:.0f} -> {end_mib:.0f} MiB, {slope:.2f} MiB a minute; most descriptors {most}")
    assert slope < MIB_A_MINUTE
    assert most[1] <= most[0] + 10

    deadline = time.monotonic() + 30
    while left := [line for pid, line in family.items() if alive(pid) and command_line(pid) == line]:
        assert time.monotonic() < deadline, left
        time.sleep(1)
