"""Whole runs that sample with the real vLLM. `make test-vllm` makes an environment that has it."""

from __future__ import annotations

import os
import signal
import time

import pytest
from small_runs import small

from aepo_rllib import AEPOConfig, GRPOConfig, metrics
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.weight_probe import ProbeError

pytest.importorskip("vllm")


def vllm_run(config, **settings):
    return small(config, **settings).sampling(engine="vllm").training(lr=0.01)


def test_three_steps_follow_the_learner(ray_cluster):
    """Training, evaluation during it, and base entropy share the one engine of this process."""
    algo = vllm_run(AEPOConfig()).evaluation(evaluation_interval=2).build_algo()
    try:
        for step in range(3):
            result = algo.train()
            update = result[metrics.UPDATE]
            assert update[metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            assert update[metrics.PROBE_LARGEST_GAP] < 1e-3
            assert metrics.EXACT_ENTROPY not in result[metrics.MAIN]
            assert result[metrics.CONTROL][metrics.ENTROPY] == result[metrics.MAIN][metrics.SAMPLED_SURPRISAL]
            assert step != 1 or "evaluation" in result
    finally:
        algo.stop()


def test_an_output_head_that_an_update_forgets_stops_the_run(ray_cluster):
    """The embedded model's head is tied: without its own name in the update vLLM keeps the old one."""
    algo = vllm_run(GRPOConfig()).training(lr=0.05).evaluation(evaluation_interval=None).build_algo()
    try:
        llm = algo.env_runner.engine._llm
        rpc = llm.collective_rpc

        def forgetful(method, *, args):
            return rpc(method, args=([pair for pair in args[0] if pair[0] != "lm_head.weight"],))

        llm.collective_rpc = forgetful
        with pytest.raises(ProbeError, match="training step 1"):
            algo.train()
    finally:
        algo.stop()


def test_a_killed_runner_comes_back_with_the_current_weights(ray_cluster):
    algo = vllm_run(GRPOConfig(), num_env_runners=1).training(lr=0.05).evaluation(evaluation_interval=None).build_algo()
    try:
        algo.train()
        (pid,) = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        os.kill(pid, signal.SIGKILL)
        pids, deadline = [], time.monotonic() + 180
        while not pids and time.monotonic() < deadline:
            result = algo.train()  # with the starting weights the first ratio would be far off 1, and the run stop
            assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
        assert pids
        assert pid not in pids
    finally:
        algo.stop()


def test_evaluation_with_vllm_solves_what_transformers_solves(tmp_path):
    """Equal laws, other random numbers: pass@1 over 24 problems x 32 samples agrees within its noise."""
    scores = [
        evaluate_model(n=32, limit=24, engine=engine, output=tmp_path / engine)["suites"]["aepo_arithmetic"]
        for engine in ("transformers", "vllm")
    ]
    ours, theirs = (score["k"]["1"]["mean"] for score in scores)
    assert abs(ours - theirs) < 5 * (2 * ours * (1 - ours) / (24 * 32)) ** 0.5
    again = evaluate_model(n=32, limit=24, engine="vllm", output=tmp_path / "again")["suites"]["aepo_arithmetic"]
    assert again["k"] == scores[1]["k"]
