"""Processes of a layout that die, and a run that goes on in another layout."""

import copy
import os
import signal
import sys
import time

import numpy as np
import pytest
import ray
from ray import tune
from small_runs import small, weights

from aepo_rllib import AEPOConfig, GRPOConfig, metrics

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test file


def figures(result):
    """What a step computed, without wall times."""
    sections = (metrics.MAIN, metrics.TEMPERED, metrics.CONTROL)
    return {section: copy.deepcopy(result[section]) for section in sections}


def test_a_killed_learner_ends_the_step_with_an_error(ray_cluster):
    """Between sampling and learning; the other learner waits for its gradients."""
    algo = small(GRPOConfig(), num_learners=2).build_algo()
    main_rows = algo.main_rows

    def rows_of_a_step_that_loses_a_learner(main):
        os.kill(pid, signal.SIGKILL)
        return main_rows(main)

    try:
        algo.train()
        [pid, _] = [answer.get() for answer in algo.learner_group.foreach_learner(lambda learner: os.getpid())]
        algo.main_rows = rows_of_a_step_that_loses_a_learner
        started = time.monotonic()
        with pytest.raises(RuntimeError, match="learner"):
            algo.train()
        assert time.monotonic() - started < 60
        assert algo.train_steps == 1
    finally:
        algo.stop()


def test_a_checkpoint_goes_on_with_another_number_of_env_runners(ray_cluster, tmp_path):
    """Bit for bit, from the algorithm's own process to a remote runner and back."""

    def config(runners):
        return small(AEPOConfig(), num_env_runners=runners)

    algos = []
    try:
        algos.append(whole := config(0).build_algo())
        whole.train()
        checkpoint = whole.save_to_path(tmp_path / "1")
        expected = [figures(whole.train()) for _ in range(2)]
        for step, runners in enumerate((1, 0)):
            algos.append(algo := config(runners).build_algo())
            algo.restore_from_path(checkpoint)
            assert figures(algo.train()) == expected[step]
            checkpoint = algo.save_to_path(tmp_path / f"{step + 2}")
        for name, tensor in weights(whole).items():
            np.testing.assert_array_equal(weights(algo)[name], tensor)
    finally:
        for algo in algos:
            algo.stop()


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
