"""A search with Ray Tune goes on after Ctrl-C and after a kill; where it cannot, it says why and touches nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from ray import tune

from aepo_rllib import AEPOConfig, metrics
from aepo_rllib.support.locks import claimed
from tests.support import tune_driver
from tests.support.small_runs import small
from tests.support.tune_driver import LEARNING_RATES, STEPS
from tests.support.tune_driver import tune_target_entropy as example

ONE_BY_ONE = ("TUNE_MAX_PENDING_TRIALS_PG", "1")
"""Tune creates few trials in advance, as it does when there are more than sixteen."""
STATE = ["tuner.pkl", "experiment_state-*.json", "basic-variant-state-*.json", "search.txt"]


def space(rates=LEARNING_RATES[:2]):
    return small(AEPOConfig()).training(lr=tune.grid_search(rates))


def search(folder, config=None, steps=1):
    return example.search(folder, config or space(), steps=steps, save_every=1)


def reports(folder: Path) -> list[list[dict]]:
    """What every trial has reported, a list per trial."""
    files = sorted(folder.glob("*/result.json"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}


@contextmanager
def control_c_when_it_has_begun(folder: Path) -> Iterator[None]:
    ended = threading.Event()

    def watch():
        while not ended.wait(0.01):
            if list(folder.glob("experiment_state-*.json")):
                os.kill(os.getpid(), signal.SIGINT)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@pytest.fixture(scope="module")
def interrupted(ray_cluster, tmp_path_factory):
    """A search that Ctrl-C ended with one trial begun and the other one not yet created: its folder and results."""
    folder = tmp_path_factory.mktemp("tune") / "interrupted"
    folder.mkdir()
    (folder / "tuner.pkl").write_bytes(b"")  # a start that was killed before there was any trial is no obstacle
    with pytest.MonkeyPatch.context() as patch, control_c_when_it_has_begun(folder):
        patch.setenv(*ONE_BY_ONE)
        results = search(folder)
    return folder, results


@pytest.fixture
def left(interrupted) -> Iterator[Path]:
    """The folder of the interrupted search; what is done to it is undone."""
    folder, _ = interrupted
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    yield folder
    shutil.rmtree(folder)
    kept.rename(folder)


@pytest.mark.slow
def test_an_interrupted_search_goes_on_and_a_finished_one_has_nothing_left(interrupted, left):
    [begun] = interrupted[1]
    line, ended_well = example.outcome(begun, 1)
    assert not ended_well
    assert line.endswith("was interrupted after 0 of 1 steps")
    results = search(left)
    assert sorted(result.config["lr"] for result in results) == LEARNING_RATES[:2]
    assert all(example.outcome(result, 1)[1] for result in results)
    before = reports(left)
    assert [[report["training_iteration"] for report in trial] for trial in before] == [[1], [1]]
    again = search(left)
    assert [result.metrics["main"] for result in again] == [result.metrics["main"] for result in results]
    assert reports(left) == before


@pytest.mark.parametrize("how", ["missing", "empty", "cut"])
@pytest.mark.parametrize("name", STATE)
def test_a_search_without_its_state_is_not_started_over(left, name, how):
    """Tune alone would start every trial again, or end in a traceback."""
    [file] = left.glob(name)
    if how == "missing":
        file.unlink()
    else:
        os.truncate(file, 0 if how == "empty" else file.stat().st_size // 2)
    before = contents(left)
    with pytest.raises(ValueError, match=r"is missing or damaged.*another --output") as error:
        search(left)
    assert file.name in str(error.value) or (how == "missing" and name in str(error.value))
    assert str(left) in str(error.value)
    assert contents(left) == before


@pytest.mark.parametrize(
    ("config", "steps", "message"),
    [
        (None, 2, "steps=1, and now it is 2"),
        (space([3e-4, 7e-4]), 1, r"lr=\{'grid_search': \[0.0003, 0.0006\]\}, and now it is .*0.0007"),
        (space().training(group_size=3), 1, "group_size=4, and now it is 3"),
    ],
)
def test_other_settings_are_refused(left, config, steps, message):
    """Tune would take them for trials that it has not created yet, and for no other."""
    before = contents(left)
    with pytest.raises(ValueError, match=message):
        search(left, config, steps)
    assert contents(left) == before


def test_a_moved_search_is_refused(left, tmp_path):
    """Tune would write the trials that it has not created yet to the old place."""
    moved = Path(shutil.copytree(left, tmp_path / "moved"))
    with pytest.raises(ValueError, match=f"folder='{left}', and now it is '{moved}'"):
        search(moved)


def test_two_at_once_are_refused(left):
    with claimed(left), pytest.raises(ValueError, match="in use by process"):
        search(left)


def test_the_command_ends_with_one_line_and_leaves_a_foreign_folder_alone(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "my\x1b[2Jnotes"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["tune_target_entropy.py", "--output", str(folder)])
    with pytest.raises(SystemExit) as end:
        example.main()
    assert end.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {tmp_path}/my\\x1b[2Jnotes is not empty, and its search.txt is missing or damaged")
    assert [file.read_text() for file in contents(folder)] == ["mine"]


def descendants(pid: int) -> list[int]:
    """All processes that come from one."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


@contextmanager
def driver(folder: Path) -> Iterator[subprocess.Popen]:
    """The search in a process of its own, which does not outlive the block."""
    command = [sys.executable, tune_driver.__file__, str(folder)]
    environment = {**os.environ, **dict([ONE_BY_ONE]), "TUNE_GLOBAL_CHECKPOINT_S": "0.5"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                kill(process)


def kill(process: subprocess.Popen) -> None:
    """The whole family: Ray's workers have process groups of their own, and outlive the others for a while."""
    family = descendants(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def finish(folder: Path) -> dict[str, dict]:
    """Run the driver to its end; the main figures of every trial, by its learning rate."""
    with driver(folder) as process:
        output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, output[-3000:] + errors[-3000:]
    return json.loads(output.splitlines()[-1])


def wait_until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def curves(folder: Path) -> list[dict[int, dict]]:
    """The main figures of every trial and iteration; those after the last checkpoint were reported twice."""
    return [{report["training_iteration"]: report["main"] for report in trial} for trial in reports(folder)]


@pytest.mark.slow
def test_a_search_whose_driver_was_killed_ends_as_one_that_was_left_alone(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    expected = finish(whole)
    with driver(folder) as process:
        wait_until(lambda: any(len(list(file.open())) > 1 for file in folder.glob("*_00001_1_*/result.json")), process)
        kill(process)
    [first, second, *others] = reports(folder)
    assert len(first) == STEPS
    assert len(second) < STEPS
    assert not others
    assert finish(folder) == expected
    assert len({figures["exact_entropy"] for figures in expected.values()}) == len(LEARNING_RATES)
    assert curves(folder) == curves(whole)
    assert [len(curve) for curve in curves(folder)] == [STEPS] * len(LEARNING_RATES)
    after = reports(folder)
    assert after[0] == first  # a finished trial is not run again
    assert after[1][: len(second)] == second  # one that had begun goes on
    assert after[1][len(second)]["training_iteration"] > 1


@pytest.mark.slow
def test_a_killed_trial_ends_as_one_that_was_left_alone(ray_cluster, tmp_path):
    """Two equal trials, of which the first to get there loses its process in step 2."""
    mark = tmp_path / "killed"

    def die_once(algorithm, **_):
        if algorithm.train_steps == 2:
            try:
                mark.touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    config = small(AEPOConfig()).training(lr=tune.grid_search([6e-4, 6e-4])).callbacks(on_train_result=die_once)
    results = tune.Tuner(
        "AEPO",
        param_space=config,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            stop={"training_iteration": 3},
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            failure_config=tune.FailureConfig(max_failures=1),
            verbose=0,
        ),
    ).fit()
    assert mark.exists()
    assert [result.error for result in results] == [None, None]
    one, other = (result.metrics_dataframe.set_index("training_iteration") for result in results)
    one_process, two_processes = sorted((list(one["pid"]), list(other["pid"])), key=lambda pids: len({*pids}))
    assert len({*one_process}) == 1
    assert [pid == two_processes[0] for pid in two_processes] == [True, False, False]  # goes on after step 1
    for name in (column for column in one if column.split("/")[0] in (metrics.MAIN, metrics.TEMPERED, metrics.CONTROL)):
        np.testing.assert_array_equal(one[name], other[name])
