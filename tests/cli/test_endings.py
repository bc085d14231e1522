"""However a run ends, it says in one line what has happened, what stands on the disk, and how to go on."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from aepo_rllib.cli.ray_cluster import keep_token_private
from aepo_rllib.cli.run_folder import RunFolder
from aepo_rllib.cli.stopping import stop_request
from tests.support.command import SMALL, aepo, alive, children, records

pytestmark = pytest.mark.process

WAYS = r"the last checkpoint is step_0000\d\d; continue with: aepo train --resume \S+"


@pytest.fixture
def start(tmp_path):
    """Start a run, and wait for its first checkpoint; whatever is left of it ends with the test."""
    started = []

    def begin(*options, **environment):
        run = tmp_path / "run"
        command = [sys.executable, "-m", "aepo_rllib.cli.main", "train", "--steps", "500", "--output", str(run), *SMALL]
        process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        deadline = time.monotonic() + 200
        while not list((run / "checkpoints").glob("step_*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[0]
        return process, run

    yield begin
    for process in started:
        if process.poll() is None:
            for pid in (*children(process.pid), process.pid):
                os.kill(pid, signal.SIGKILL)


def named(pid, words):
    """Children of a process whose command line holds these words."""
    lines = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children(pid) if alive(child)}
    return [child for child, line in lines.items() if words.encode() in line]


def ends(process, run, *, code, cause, within=120):
    """The process ends so, and says so; the run can go on from what it has left."""
    output, _ = process.communicate(timeout=within)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert re.search(rf"{cause}.*; {WAYS}", output), output
    checkpoint = RunFolder(run).good_checkpoint(lambda text: None)
    assert checkpoint is not None
    return output


@pytest.mark.slow
def test_a_killed_raylet_is_named(start):
    """Ray ends the process itself, by an exit that no handler sees."""
    process, run = start()
    os.kill(named(process.pid, "raylet/raylet")[0], signal.SIGKILL)
    ends(process, run, code=1, cause="Ray's raylet .* has ended")


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(start):
    """A limit on the size of files, laid upon a running process, stands for the disk: no write gets through."""
    process, run = start()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, 100))
    output = ends(process, run, code=1, cause="File too large")
    assert len([line for line in output.splitlines() if line.startswith("Error:")]) == 1
    done = len((run / "metrics.jsonl").read_bytes().splitlines())
    result = aepo("train", "--resume", run, "--steps", done + 1)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [record["step"] for record in records(run)] == list(range(1, done + 2))


@pytest.mark.slow
def test_a_killed_gcs_ends_the_run_with_a_checkpoint_of_its_own(start):
    process, run = start()
    os.kill(named(process.pid, "gcs/gcs_server")[0], signal.SIGKILL)
    ends(process, run, code=1, cause="Ray's gcs_server .* has ended")
    assert RunFolder(run).recorded_steps() == int(max((run / "checkpoints").iterdir()).name.removeprefix("step_"))


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_a_killed_learner_is_named_and_the_run_goes_on_with_another_number(start, sharding):
    process, run = start("--num-learners", "2", "--set", f"learner_sharding={sharding}")
    os.kill(named(process.pid, "_WrappedExecutable")[0], signal.SIGKILL)
    ends(process, run, code=1, cause=r"learning failed: learner [01] of 2 was killed")
    assert (run / "error.txt").read_text().startswith("Traceback")
    done = len(records(run))
    for more, learners in enumerate((1, 2), start=1):
        result = aepo("train", "--resume", run, "--steps", done + more, "--num-learners", learners)
        assert result.returncode == 0, result.stdout + result.stderr
    assert [record["step"] for record in records(run)] == list(range(1, done + 3))


@pytest.mark.slow
def test_a_run_that_is_killed_for_want_of_memory_is_spoken_for(start):
    process, run = start()
    os.kill(process.pid, signal.SIGKILL)
    ends(process, run, code=-9, cause="the run was killed")


@pytest.mark.slow
def test_a_second_signal_does_not_wait(start):
    process, run = start()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert RunFolder(run).good_checkpoint(lambda text: None) is not None


@pytest.mark.slow
def test_a_run_whose_reader_goes_away_goes_on_to_its_end(tmp_path):
    """As in `aepo train | head -1`, where rich would end the run wherever it is."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "aepo_rllib.cli.main", "train", "--steps", "4", "--output", str(run), *SMALL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == f"run directory: {run}\n"
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=120) == 0, said
    assert RunFolder(run).recorded_steps() == 4
    assert (run / "huggingface" / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0.3, 3])
def test_a_signal_while_a_run_starts_is_a_signal(tmp_path, number, seconds):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "aepo_rllib.cli.main", "train", "--steps", "500", "--output", str(run), *SMALL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (run / "config.yaml").exists():
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, output
    assert "aepo train --resume" in output
    assert "killed" not in output


@pytest.mark.slow
def test_a_cluster_that_lies_about_is_not_joined(start):
    """`ray start` leaves its address where anybody can write; a stale one made the command wait for minutes."""
    address = Path("/tmp/ray/ray_current_cluster")
    address.parent.mkdir(exist_ok=True)
    before = address.read_text() if address.exists() else None
    address.write_text("127.0.0.1:6399")
    try:
        process, _ = start()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 143, output
    finally:
        address.unlink(missing_ok=True)
        if before is not None:
            address.write_text(before)


@pytest.mark.slow
def test_a_stranger_cannot_join_the_cluster_of_a_run(start, tmp_path):
    process, _ = start()
    [gcs] = named(process.pid, "gcs/gcs_server")
    words = Path(f"/proc/{gcs}/cmdline").read_text().split("\0")
    port = next(word.partition("=")[2] for word in words if word.startswith("--gcs_server_port="))
    code = "import sys, ray\nray.init(address=sys.argv[1], logging_level='ERROR')\nprint('JOINED')"
    address = f"127.0.0.1:{port}"
    for mode in ("token", "disabled"):
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "RAY_AUTH_MODE": mode,
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        }
        try:
            stranger = subprocess.run(
                [sys.executable, "-c", code, address],
                capture_output=True,
                text=True,
                timeout=60,
                env=environment,
                check=False,
            )
            said = stranger.stdout
        except subprocess.TimeoutExpired as error:
            said = str(error.stdout or "")
        assert "JOINED" not in said, mode


def test_rays_token_is_kept_from_others(monkeypatch, tmp_path):
    file = tmp_path / "auth_token"
    file.write_text("secret")
    file.chmod(0o644)
    monkeypatch.setattr("aepo_rllib.cli.ray_cluster.TOKEN_FILE", file)
    keep_token_private()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


# --- Signals, in this process ---


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(1)  # handlers run between two instructions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_waits_for_a_step_and_the_second_does_not(number):
    before = signal.getsignal(number)
    with stop_request(Console(quiet=True)) as stop:
        stop.wait_for_steps()
        assert not stop
        send(number)
        assert stop
        assert stop.signal is number
        with pytest.raises(KeyboardInterrupt):
            send(number)
    assert signal.getsignal(number) is before


def test_before_there_are_steps_a_signal_ends_at_once():
    with stop_request(Console(quiet=True)) as stop, pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
    assert stop.signal is signal.SIGTERM


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_request(Console(quiet=True)) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.1)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
