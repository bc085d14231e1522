"""A reward of your own: correctness, a bonus for the asked form, and DAPO's penalty for overlong completions.

    aepo train --set env_config.verifier=examples/own_reward.py:reward --set max_new_tokens=64 --steps 60

`python examples/own_reward.py --steps 60` does the same from Python. The function runs in the grader's worker
processes: it may take what time and memory it likes, and is ended when it takes too much (docs/grading.md).
"""

import argparse

import ray

from aepo_rllib import AEPOConfig
from aepo_rllib.envs import Problem
from aepo_rllib.envs.grading import SampledText, Score
from aepo_rllib.envs.grading.rules import judge

FORM_BONUS = 0.1
MAX_TOKENS, CACHE_TOKENS = 64, 16
"""Completions begin to cost when they come within CACHE_TOKENS of MAX_TOKENS."""


def reward(completion: SampledText, problem: Problem) -> Score:
    """1 for a right answer, FORM_BONUS more in a single box, up to -1 for length.

    A wrong answer gets no bonus: what is rewarded above zero is a positive sample to AEPO.
    """
    correct = judge(problem, completion)
    form = FORM_BONUS if completion.count(r"\boxed{") == 1 else 0.0
    penalty = overlong_penalty(completion.tokens or 0, MAX_TOKENS, CACHE_TOKENS)
    return Score(correct * (1.0 + form) + penalty, correct)


def overlong_penalty(tokens: int, max_tokens: int, cache_tokens: int) -> float:
    """DAPO's soft overlong punishment (arXiv 2503.14476, equation 13): 0 at first, then down to -1."""
    return -min(max(tokens - (max_tokens - cache_tokens), 0) / cache_tokens, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    config = (
        AEPOConfig()
        .problems(problems="arithmetic", verifier=f"{__file__}:reward")
        .sampling(max_new_tokens=MAX_TOKENS)
        .training(batch_size=16, group_size=8, lr=6e-4)
        .entropy_control(target_entropy="0.5x")
        .evaluation(evaluation_interval=None)
        .debugging(seed=0)
    )
    algo = config.build_algo()
    for step in range(steps):
        result = algo.train()
        if step % 10 == 0 or step == steps - 1:
            stream = result["main"]
            print(f"step {step + 1}: reward {stream['reward_mean']:.3f}, correct {stream['verdict_correct']:.3f}")
    algo.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
