"""Whole runs that sample with the real vLLM. `make test-vllm` makes an environment that has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.learning.probe import ProbeError
from aepo_rllib.models.hf import ModelError, load_model
from aepo_rllib.rollout import Prompt, make_engine
from aepo_rllib.rollout.transformers import TransformersEngine
from tests.support.small_runs import small

pytest.importorskip("vllm")


def vllm_run(config, **settings):
    return small(config, **settings).sampling(engine="vllm").training(lr=0.01)


def test_three_steps_of_the_command_line_follow_the_learner(tmp_path):
    """Training, evaluation during it, and base entropy share the one engine of the process."""
    options = ["--engine", "vllm", "--steps", "3", "--batch-size", "6", "--group-size", "4", "--output", tmp_path]
    settings = [
        "lr=0.01",
        "importance_cap=2.0",
        "ratio_tolerance=0.01",
        "evaluation_interval=2",
        "evaluation_duration=24",
    ]
    command = [sys.executable, "-m", "aepo_rllib.cli.main", "train", *map(str, options)]
    command += [word for setting in settings for word in ("--set", setting)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    for record in records:
        assert record[f"{metrics.UPDATE}/{metrics.FIRST_RATIO_MAX_DEVIATION}"] < 1e-3
        assert record[f"{metrics.UPDATE}/{metrics.PROBE_LARGEST_GAP}"] < 1e-3
        assert record[f"{metrics.UPDATE}/{metrics.CAPPED_SHARE}"] == 0
        assert f"{metrics.MAIN}/{metrics.EXACT_ENTROPY}" not in record
        surprisal = record[f"{metrics.MAIN}/{metrics.SAMPLED_SURPRISAL}"]
        assert record[f"{metrics.CONTROL}/{metrics.ENTROPY}"] == pytest.approx(surprisal)
    assert ["evaluation/pass@1" in record for record in records] == [False, True, False]


@pytest.mark.slow
def test_two_workers_share_a_model(tmp_path):
    """Tensor parallel: every worker takes its part of an update."""
    shape = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Qwen2Config(**shape, **heads, max_position_embeddings=64))
    model.save_pretrained(tmp_path)
    engine = make_engine("vllm", str(tmp_path), tensor_parallel_size=2)
    try:
        with pytest.raises(RuntimeError, match="has a VLLMEngine already"):
            make_engine("vllm", "embedded")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3.0)
        engine.update_weights(model.state_dict(), version=1)
        [group] = engine.generate([Prompt([5, 6, 7], [(0,), (1,)])], max_new_tokens=12, stop_ids=[])
        expected = TransformersEngine(model).log_probs([([5, 6, 7], c.token_ids.tolist()) for c in group])
        for completion, logp in zip(group, expected, strict=True):
            np.testing.assert_allclose(completion.policy_logp, logp, atol=1e-4)
    finally:
        engine.close()


@pytest.mark.gpu
def test_a_sleeping_engine_gives_its_memory_back():
    if not torch.cuda.is_available():
        pytest.skip("vLLM sleeps on a GPU alone")
    model = load_model("embedded")
    engine = make_engine("vllm", "embedded", gpu_memory_utilization=0.5)
    sequences = [([5, 6, 7], [8, 9])]
    try:
        awake, total = torch.cuda.mem_get_info()
        engine.sleep()
        assert torch.cuda.mem_get_info()[0] - awake > 0.3 * total
        engine.wake()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)
        engine.update_weights(model.state_dict(), version=1)
        np.testing.assert_allclose(
            engine.log_probs(sequences)[0], TransformersEngine(model).log_probs(sequences)[0], atol=1e-2
        )
    finally:
        engine.close()


def test_what_vllm_refuses_is_said_in_a_line():
    with pytest.raises(ModelError, match=r"attention heads \(3\) must be divisible by tensor parallel size \(2\)"):
        make_engine("vllm", "embedded", tensor_parallel_size=2)


def test_an_output_head_that_an_update_forgets_stops_the_run(ray_cluster):
    """The embedded model's head is tied: without its own name in the update vLLM keeps the old one."""
    algo = vllm_run(GRPOConfig()).training(lr=0.05).evaluation(evaluation_interval=None).build_algo()
    try:
        llm = algo.env_runner.engine._llm
        update = llm.update_weights

        def forgetful(request):
            weights = request["update_info"]["weights"]
            update({"update_info": {"weights": [pair for pair in weights if pair[0] != "lm_head.weight"]}})

        llm.update_weights = forgetful
        with pytest.raises(ProbeError, match="training step 1"):
            algo.train()
    finally:
        algo.stop()


@pytest.mark.slow
def test_a_killed_runner_comes_back_with_the_current_weights(ray_cluster):
    """Two env runners are two engines; the batch is theirs together, and one of them dies."""

    def pids_of(algo):
        return algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)

    algo = vllm_run(GRPOConfig(), num_env_runners=2).training(lr=0.05).evaluation(evaluation_interval=None).build_algo()
    try:
        algo.train()
        killed, spared = pids_of(algo)
        os.kill(killed, signal.SIGKILL)
        pids, deadline = [], time.monotonic() + 180
        while len(pids) < 2 and time.monotonic() < deadline:
            result = algo.train()  # with the starting weights the first ratio would be far off 1, and the run stop
            assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
            pids = pids_of(algo)
        assert len(pids) == 2
        assert spared in pids
        assert killed not in pids
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
    again = evaluate_model(n=32, limit=24, engine="vllm", output=tmp_path / "again")
    assert again["suites"]["aepo_arithmetic"]["k"] == scores[1]["k"]
    for options, message in (({"max_model_len": 40}, "context is 40"), ({"seeded": False}, "the same samples twice")):
        with pytest.raises(ValueError, match=message):
            evaluate_model(n=1, limit=1, engine="vllm", engine_options=options)
