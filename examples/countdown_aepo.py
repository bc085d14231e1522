"""AEPO learns countdown, with the command line that RLlib's own examples have.

    python examples/countdown_aepo.py --as-test

Problems such as "Make 24 from 2 3 4." by the embedded model, without a GPU and without a network. `--as-test` fails
unless the mean reward on problems that are not trained on reaches `--stop-reward`. With seed 0 it goes from 0.26 in the
first validation to 0.36 in the eighth, after 80 steps and three minutes on one busy core.

Useful options (all of them: `--help`):

    --no-tune               a plain loop of algo.train(), for a debugger
    --num-env-runners=2     sample in processes of their own; --num-learners=2 learns in some
    --stop-reward=0.45 --stop-iters=300
    --algo=grpo             any method that `aepo methods` lists
    --wandb-key=KEY         log to Weights & Biases, where it is installed
"""

from __future__ import annotations

import argparse
from typing import Any

import ray
from ray.rllib.examples.utils import add_rllib_example_script_args, run_rllib_example_script_experiment
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, EVALUATION_RESULTS
from ray.tune.result import TRAINING_ITERATION

from aepo_rllib import tune_reporter
from aepo_rllib.algorithms import find_config

VALIDATION = f"{EVALUATION_RESULTS}/{ENV_RUNNER_RESULTS}/{EPISODE_RETURN_MEAN}"
REWARD = 0.34
"""In validation, that is called learning: four standard errors of 512 completions above what it begins with."""
EVERY = 10
"""Steps between validations. The last step is to be one, as the test looks at its figures."""


def parser() -> argparse.ArgumentParser:
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_rllib_example_script_args(described, default_reward=REWARD, default_iters=20 * EVERY)
    described.set_defaults(algo="aepo", evaluation_interval=EVERY, evaluation_duration=512)
    return described


def run(arguments: argparse.Namespace, **options: Any) -> Any:
    """Train until the mean reward in validation is high enough, or for so many steps.

    Args:
        arguments: Those of `parser`.
        options: Of RLlib's `run_rllib_example_script_experiment`.

    Raises:
        ValueError: it is run as a test, and the reward was not reached.
    """
    config = (
        find_config(arguments.algo)()
        .language_model(model_path="embedded")
        .problems(problems="countdown3")
        .training(batch_size=16, group_size=8, lr=6e-4)
        .debugging(seed=0)
    )
    return run_rllib_example_script_experiment(
        config,
        arguments,
        stop={VALIDATION: arguments.stop_reward, TRAINING_ITERATION: arguments.stop_iters},
        success_metric={VALIDATION: arguments.stop_reward},
        progress_reporter=tune_reporter(max_report_frequency=arguments.tune_max_report_freq),
        **options,
    )


if __name__ == "__main__":
    ray.init(address="local", include_dashboard=False, log_to_driver=False)  # else RLlib's joins any that it finds
    run(parser().parse_args())
