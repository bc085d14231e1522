"""What learning beside sampling costs the control of entropy: AEPO with `async_steps` 0 and 1, over targets and seeds.

    python benchmarks/async_steps.py --targets 0.5x 1.0x --seeds 0 1 2 --steps 160

Prints a table and writes results/async_steps.json: the mean distance from the target in the second half, its mean with
the sign, how often the dial changed sides, and the reward of the last 20 steps. No figure is a time: how much faster
it is says compare.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path

import ray

from aepo_rllib import AEPOConfig, metrics

HERE = Path(__file__).parent
LAST = 20


def run(target: str, seed: int, steps: int, async_steps: int) -> dict[str, float]:
    """Figures of one run of the embedded model."""
    config = (
        AEPOConfig()
        .entropy_control(target_entropy=target)
        .training(async_steps=async_steps)
        .env_runners(num_env_runners=1)
        .evaluation(evaluation_interval=None)
        .debugging(seed=seed, log_level="ERROR")
    )
    algo = config.build_algo()
    entropy, targets, temperatures, rewards = [], [], [], []
    for _ in range(steps):
        result = algo.train()
        entropy.append(float(result[metrics.MAIN][metrics.EXACT_ENTROPY]))
        targets.append(float(result[metrics.CONTROL][metrics.TARGET_ENTROPY]))
        temperatures.append(float(result[metrics.CONTROL][metrics.TEMPERATURE]))
        rewards.append(float(result[metrics.MAIN][metrics.REWARD_MEAN]))
    algo.stop()
    off = [(now - aim) / aim for now, aim in zip(entropy, targets, strict=True)][steps // 2 :]
    hot = temperatures[steps // 2 :]
    return {
        "distance": statistics.mean(map(abs, off)),
        "bias": statistics.mean(off),
        "turns": sum(a != b for a, b in itertools.pairwise(hot)) / len(hot),
        "reward": statistics.mean(rewards[-LAST:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=["0.5x", "1.0x"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "async_steps.json")
    arguments = parser.parse_args()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    rows = []
    print(
        "| target | async_steps | distance from target | bias | turns a step | reward |", "| --- " * 6 + "|", sep="\n"
    )
    for target in arguments.targets:
        for async_steps in (0, 1):
            runs = [run(target, seed, arguments.steps, async_steps) for seed in arguments.seeds]
            rows.append({"target": target, "async_steps": async_steps, "runs": runs})
            cells = []
            for name, style in (("distance", ".1%"), ("bias", "+.1%"), ("turns", ".2f"), ("reward", ".3f")):
                values = [each[name] for each in runs]
                cells.append(f"{statistics.mean(values):{style}} ({min(values):{style}} to {max(values):{style}})")
            print(f"| {target} | {async_steps} | {' | '.join(cells)} |", flush=True)
    arguments.output.write_text(json.dumps({"steps": arguments.steps, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
