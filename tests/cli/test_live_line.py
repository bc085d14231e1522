"""The live line keeps step, time left, reward, entropy, target, dial and validation at 80 columns, and more at 160."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from aepo_rllib.cli.live_line import VALIDATION, RunLine

RECORD = {
    "step": 1234,
    "main/reward_mean": 0.4891,
    "main/exact_entropy": 0.8612,
    "control/target_entropy": 0.4374,
    "control/temperature": 0.8,
    "throughput/completions_per_second": 447.3,
    VALIDATION: 0.4531,
}
ESSENTIALS = ("1234/4000", "left", "0.489", "0.861", "0.437", "T 0.8", "pass@1 0.453")


def line_at(step: int, seconds: float, steps: int = 4000, **figures: float) -> RunLine:
    """After a step that took so long."""
    now = [0.0]
    line = RunLine(steps, clock=lambda: now[0])
    line.begin_steps()
    now[0] = seconds
    line.update(RECORD | figures | {"step": step})
    return line


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_no_essential_is_squeezed_out(width: int) -> None:
    text = line_at(1234, 1.8).text(width)
    assert cell_len(text) <= width
    assert not [part for part in ESSENTIALS if part not in text], text


def test_a_wider_line_says_more() -> None:
    lengths = [len(line_at(1234, 1.8).text(width)) for width in (80, 110, 140)]
    assert lengths == sorted(set(lengths))
    assert "(step 1234)" in line_at(1234, 1.8).text(140)
    assert "completions/s" in line_at(1234, 1.8).text()


@given(st.integers(1, 99_999), st.floats(0, 1e4), st.sampled_from([1.0, 1.05, 0.12345]), st.integers(80, 240))
def test_it_never_breaks_over_two_lines(step: int, seconds: float, setting: float, width: int) -> None:
    line = line_at(step, seconds, steps=99_999, **{"control/temperature": setting})
    assert cell_len(line.text(width)) <= width


def test_the_time_that_is_left_follows_the_pace_of_the_last_steps() -> None:
    now = [0.0]
    line = RunLine(100, [{"step": step} for step in range(1, 41)], clock=lambda: now[0])
    now[0] += 500  # what comes before the steps does not count
    line.begin_steps()
    assert line.seconds_left is None
    for step in range(41, 81):
        now[0] += 10 if step <= 60 else 3
        line.update(RECORD | {"step": step})
    assert line.seconds_left == pytest.approx(20 * 3)
    assert "0:01:00 left" in line.text()


def test_the_last_validation_is_remembered_also_of_a_run_that_was_resumed() -> None:
    line = RunLine(100, [{"step": 20, VALIDATION: 0.25}, {"step": 21}])
    line.update({key: value for key, value in RECORD.items() if key != VALIDATION} | {"step": 22})
    assert "pass@1 0.250 (step 20)" in line.text()


DRAW = """
import sys
from rich.console import Console
from aepo_rllib.cli.live_line import run_line
console = Console(markup=False, highlight=False, soft_wrap=True)
record = eval(sys.argv[1])
with run_line(4000, [], console) as line:
    line.doing("measuring ...")
    line.begin_steps()
    for step in (1233, 1234):
        line.update(record | {"step": step})
    console.print("above")
"""


@pytest.mark.process
@pytest.mark.parametrize("columns", [80, 160])
def test_what_a_terminal_is_shown(columns: int) -> None:
    terminal, side = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    command = [sys.executable, "-c", DRAW, repr(RECORD)]
    process = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=environment)
    os.close(side)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that it is closed
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert process.wait(timeout=60) == 0, shown
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r", "\n").split("\n")
    last = [line for line in drawn if "1234/4000" in line][-1]
    assert cell_len(last) <= columns
    assert not [part for part in ESSENTIALS if part not in last], last
    assert ("completions/s" in last) == (columns == 160)
    assert "above" in drawn
