"""Train the embedded model with AEPO in an environment of your own, of two turns.

    python examples/own_environment.py --steps 60

Takes about half a minute on one core; the mean reward rises from about 0.4 to 0.95. `SecondTry` can be trained from the
command line just as well, from this folder:

    PYTHONPATH=. aepo train --set env=own_environment:make_second_try --set env_config.largest=9 --steps 60
"""

import argparse
from typing import Any

import gymnasium
import ray

from aepo_rllib import AEPOConfig
from aepo_rllib.envs.spaces import AnyText


class SecondTry(gymnasium.Env[str, str]):
    """Add three numbers; a wrong sum may be mended once, for half the reward.

    The seed of `reset` alone chooses the numbers, so that all completions of a group answer the same problem.
    """

    observation_space = action_space = AnyText()

    def __init__(self, largest: int = 20) -> None:
        self.largest = largest

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.numbers = self.np_random.integers(1, self.largest + 1, size=3).tolist()
        self.tries = 0
        return self.problem(), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.tries += 1
        answer = action.rpartition("\\boxed{")[2].partition("}")[0].strip()
        right = answer == str(sum(self.numbers))
        reward = (1.0 if self.tries == 1 else 0.5) if right else 0.0
        # The observation is all that the model sees: an environment that wants it to remember says it again.
        return self.problem(), reward, right or self.tries == 2, False, {"verdict": "correct" if right else "wrong"}

    def problem(self) -> str:
        return f"Add {' '.join(map(str, self.numbers))}."


def make_second_try(env_config: dict[str, Any]) -> SecondTry:
    """As RLlib calls a class or function that `env` names: with one mapping."""
    return SecondTry(**env_config)


gymnasium.register("SecondTry-v0", entry_point=SecondTry)  # whose environments take keyword arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    config = (
        AEPOConfig()
        .environment("SecondTry-v0", env_config={"largest": 9})
        .training(batch_size=16, group_size=8, lr=6e-4)
        .entropy_control(target_entropy="0.5x")
        .evaluation(evaluation_interval=None, evaluation_duration=64)
        .debugging(seed=0)
    )
    algo = config.build_algo()
    for step in range(arguments.steps):
        result = algo.train()
        if step % 10 == 0 or step == arguments.steps - 1:
            turns = result["env_runners"]["episode_len_mean"]
            print(f"step {step + 1}: reward {result['main']['reward_mean']:.3f}, {turns:.2f} turns an episode")
    algo.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
