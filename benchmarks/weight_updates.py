"""What a weight update costs: bytes that leave the learner, seconds, and memory of the processes it goes through.

    python benchmarks/weight_updates.py [--millions 98] [--dtype bfloat16] [--updates 3] [--engine vllm] [--workers 2]

A random model of so many parameters, one remote learner, one remote env runner. Nothing is trained or sampled:
the learner's weights are marked as changed, sent, and asked for by the probe. `--workers` share the model of vLLM.
`runner_grew_mb` is how much more the env runner had at most while it took them, as Linux tells.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from transformers import AutoModelForCausalLM, Qwen2Config

from aepo_rllib import GRPOConfig
from aepo_rllib.models.hf import load_tokenizer


def write_model(folder: Path, millions: int) -> int:
    """A random model of about so many parameters, with the embedded tokenizer; its exact number of them."""
    width = 512
    layers = max(1, round((millions * 1e6 - 75 * width) / (2.5 * width**2 + 3 * width * 4 * width)))
    config = Qwen2Config(
        vocab_size=75,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    load_tokenizer("embedded").save_pretrained(folder)
    return model.num_parameters()


def status(key: str) -> int:
    """This process's resident bytes, or the most it had ("VmRSS", "VmHWM")."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(key)), 0)


def watch(runner: Any) -> int:
    """Forget the most that an env runner's process had; what it has now."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=98)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--engine", default="transformers", choices=["transformers", "vllm"])
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    options = {"tensor_parallel_size": given.workers, "max_model_len": 64} if given.engine == "vllm" else {}
    with tempfile.TemporaryDirectory() as folder:
        parameters = write_model(Path(folder), given.millions)
        ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level=logging.ERROR)
        config = GRPOConfig().language_model(model_path=folder, dtype=given.dtype).env_runners(num_env_runners=1)
        config = config.learners(num_learners=1).evaluation(evaluation_interval=None)
        config = config.sampling(max_new_tokens=4, engine=given.engine, engine_options=options)
        algo = config.training(batch_size=2, group_size=2, updates_per_batch=1).build_algo()
        process, seen = psutil.Process(), []
        algo.learner_group.set_weights(algo.learner_group.get_weights())  # from now on they count as changed
        algo.probe = [([5, 6, 7], [8, 9])]
        for _ in range(given.updates):
            runners = algo.env_runner_group
            [before] = runners.foreach_env_runner(watch, local_env_runner=False)
            started = time.perf_counter()
            algo.sync_weights()
            seconds = time.perf_counter() - started
            [peak] = runners.foreach_env_runner(lambda runner: status("VmHWM"), local_env_runner=False)
            state = algo.learner_group.get_state(inference_only=True)[COMPONENT_LEARNER][COMPONENT_RL_MODULE]
            sent = state[DEFAULT_MODULE_ID].bytes
            megabytes = {"driver_rss_mb": process.memory_info().rss, "runner_grew_mb": peak - before}
            seen.append({"seconds": round(seconds, 2)} | {key: round(value / 1e6) for key, value in megabytes.items()})
        print(
            json.dumps({"parameters": parameters, "bytes_per_parameter": round(sent / parameters, 4), "updates": seen})
        )
        algo.stop()
        ray.shutdown()


if __name__ == "__main__":
    main()
