"""A remote env runner samples as the algorithm's own process does, bit for bit, and hides nothing that goes wrong."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from aepo_rllib import metrics
from aepo_rllib.envs.grading import GraderBroken
from tests.support.layouts import Built, build
from tests.support.small_runs import figures, weights

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test file


@pytest.fixture(scope="module")
def local(ray_cluster: None) -> Iterator[Built]:
    """All in one process."""
    with build(0, 0, "none") as built:
        yield built


@pytest.fixture(scope="module")
def remote(ray_cluster: None) -> Iterator[Built]:
    """One env runner in a process of its own."""
    with build(1, 0, "none") as built:
        yield built


@pytest.mark.slow
def test_its_steps_are_those_of_one_process(local: Built, remote: Built) -> None:
    assert [figures(result) for result in remote.results] == [figures(result) for result in local.results]
    for name, expected in local.weights.items():
        np.testing.assert_array_equal(remote.weights[name], expected)
    for result in remote.results:
        assert result[metrics.UPDATE][metrics.PROBE_LARGEST_GAP] < 1e-4


@pytest.mark.slow
def test_a_checkpoint_goes_on_in_another_layout(local: Built, remote: Built, tmp_path: Path) -> None:
    """From the algorithm's own process to a remote runner and back."""
    algo, other = local.algo, remote.algo
    algo.save_to_path(tmp_path / "1")
    expected = [figures(algo.train()) for _ in range(2)]
    reached = weights(algo)
    other.restore_from_path(tmp_path / "1")
    assert figures(other.train()) == expected[0]
    other.save_to_path(tmp_path / "2")
    algo.restore_from_path(tmp_path / "2")
    assert figures(algo.train()) == expected[1]
    for name, tensor in reached.items():
        np.testing.assert_array_equal(weights(algo)[name], tensor)


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_broken_grader_stops_the_run(ray_cluster: None, where: str, request: pytest.FixtureRequest) -> None:
    """A verifier that calls everything wrong would train on noise; a remote runner must not hide it."""

    def break_grader(runner: Any) -> None:
        from aepo_rllib.envs.grading import verifiers

        verifiers.check_countdown = lambda *_: False

    def mend_grader(runner: Any) -> None:
        from aepo_rllib.envs.grading import countdown, verifiers

        verifiers.check_countdown = countdown.check_countdown

    algo = request.getfixturevalue(where).algo
    each = algo.env_runner_group.foreach_env_runner
    try:
        each(break_grader)
        with pytest.raises(GraderBroken, match="expected correct, got wrong"):
            algo.train()
    finally:
        each(mend_grader)
    assert algo.train()[metrics.MAIN][metrics.REWARD_MEAN] > 0


def test_a_runner_that_was_restarted_while_nobody_looked_samples_from_the_current_weights(
    remote: Built, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed between two calls and restarted before the next, it has the weights of the start and answers at once."""
    algo = remote.algo
    [runner] = algo.env_runner_group._worker_manager.actors().values()
    pid = ray.get(runner.apply.remote(lambda runner: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # Ray brings it back, and RLlib knows nothing of it
        try:
            if ray.get(runner.apply.remote(lambda runner: os.getpid()), timeout=20) != pid:
                break
        except ray.exceptions.RayError:
            time.sleep(0.2)
    assert algo.env_runner_group.num_healthy_remote_env_runners() == 1
    assert algo.train()[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
    assert "env runners [1] were restarted, and get the current weights" in caplog.text
