"""Search over the target entropy with Ray Tune, two trials side by side on two cores.

    python examples/tune_target_entropy.py --steps 100

Takes about 100 s. Each trial samples and learns in its own process with one thread (`num_env_runners=0`), so that two
trials fit two cores without stepping on each other.
"""

import argparse

import ray
from ray import tune

# Importing the algorithms is what makes their names known to Tune.
from aepo_rllib import AEPO, AEPOConfig

TARGETS = ["0.5x", "0.75x"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()

    ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False)
    config = (
        AEPOConfig()
        .entropy_control(target_entropy=tune.grid_search(TARGETS))
        .evaluation(evaluation_interval=None)
        .debugging(seed=0)
    )
    tuner = tune.Tuner(
        AEPO.__name__,
        param_space=config,
        run_config=tune.RunConfig(stop={"training_iteration": arguments.steps}, verbose=0),
    )
    for result in tuner.fit():
        if result.error:
            raise result.error
        metrics = result.metrics
        print(
            f"target {result.config['target_entropy']}: entropy {metrics['main']['exact_entropy']:.3f} "
            f"(aimed at {metrics['control']['target_entropy']:.3f}), reward {metrics['main']['reward_mean']:.3f}"
        )
    ray.shutdown()


if __name__ == "__main__":
    main()
