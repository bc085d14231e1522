"""What it saves to grade completions while others are still sampled.

    python benchmarks/grading_ahead.py
    python benchmarks/grading_ahead.py --workers 64 --milliseconds 100 250

One env runner of the embedded model, 16 problems x 8 completions, a reward that takes its time in worker processes;
seconds of a batch with and without, turn by turn in the same process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from aepo_rllib import GRPOConfig
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import MAIN_STREAM
from aepo_rllib.rollout.transformers import TransformersEngine
from aepo_rllib.sampling.env_runner import TextEnvRunner

REWARD = """
import time

def slow(completion, problem):
    time.sleep({seconds})
    return 0.5
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each kind")
    parser.add_argument("--workers", type=int, default=2, help="processes that judge")
    parser.add_argument("--milliseconds", type=int, nargs="+", default=[0, 1, 2, 4, 8, 16], help="of a reward")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| reward, ms | a batch, s | graded ahead, s | saved |\n| ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        problems = Path(folder, "problems.jsonl")
        asked = ({"problem": f"Make 24 from {n} 8 5", "answer": "24"} for n in range(1, 33))
        problems.write_text("".join(f"{json.dumps(each)}\n" for each in asked))
        for milliseconds in arguments.milliseconds:
            file = Path(folder, f"reward{milliseconds}.py")
            file.write_text(REWARD.format(seconds=milliseconds / 1000))
            reward = f"{file}:slow" if milliseconds else "math"
            after, ahead = measured(problems, reward, arguments.workers, arguments.rounds)
            print(f"| {milliseconds} | {after:.3f} | {ahead:.3f} | {1 - ahead / after:.0%} |", flush=True)


def measured(problems: Path, reward: str, workers: int, rounds: int) -> tuple[float, float]:
    """Median seconds of a batch, without and with."""
    config = GRPOConfig().problems(problems=str(problems), verifier=reward, grader_workers=workers)
    runner = TextEnvRunner(config=config, worker_index=0)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * rounds + 2):
        TransformersEngine.tells_ends = bool(turn % 2)
        slots = tuple(range(16))
        request = RolloutRequest(MAIN_STREAM, seed=0, step=turn // 2, slots=slots, problems=slots, group_size=8)
        started = time.perf_counter()
        runner.rollout(request)
        if turn > 1:  # the first ones start the workers
            seconds[TransformersEngine.tells_ends].append(time.perf_counter() - started)
    runner.stop()
    return statistics.median(seconds[False]), statistics.median(seconds[True])


if __name__ == "__main__":
    main()
