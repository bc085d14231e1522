"""A search with small trials, one at a time, in a process that can be killed: `python tune_driver.py FOLDER`."""

import json
import sys
from pathlib import Path

import ray
from ray import tune

from aepo_rllib import AEPOConfig

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import tune_target_entropy

STEPS = 5
LEARNING_RATES = [3e-4, 6e-4, 1.2e-3, 2.4e-3]


def main() -> None:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    config = (
        AEPOConfig()
        .debugging(seed=3)
        .training(batch_size=32, group_size=8, lr=tune.grid_search(LEARNING_RATES))  # steps of half a second
        .evaluation(evaluation_interval=None)
    )
    results = tune_target_entropy.search(Path(sys.argv[1]), config, steps=STEPS, save_every=1)
    print(json.dumps({str(result.config["lr"]): result.metrics["main"] for result in results}))
    ray.shutdown()


if __name__ == "__main__":
    main()
