"""Search over the target entropy with Ray Tune, two trials side by side on two cores.

    python examples/tune_target_entropy.py --steps 100 --output runs/targets

Takes about 100 s. Each trial samples and learns in its own process with one thread (`num_env_runners=0`), so that two
trials fit two cores without stepping on each other. After Ctrl-C or a kill the same command goes on with the search:
docs/tune.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune

# Importing the algorithms is what makes their names known to Tune.
from aepo_rllib import AEPO, AEPOConfig
from aepo_rllib.support.locks import claimed, write_atomically
from aepo_rllib.support.terminal import visible

TARGETS = ["0.5x", "0.75x"]
SETTINGS, TUNER = "search.txt", "tuner.pkl"


def search(folder: Path, config: AEPOConfig, *, steps: int, save_every: int) -> tune.ResultGrid:
    """Run the search that a folder is for, or what is left of it.

    Raises:
        ValueError: the folder holds something else, a search with other settings, or one whose state is damaged.
        OSError: the folder cannot be used.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings_of(folder, config, steps)
    with claimed(folder):
        if {file.name for file in folder.iterdir() if not file.name.startswith(".")} - {SETTINGS, TUNER}:
            check_settings(folder, settings)
            tuner = restored(folder, config)
        else:
            write_atomically(folder / SETTINGS, json.dumps(settings, indent=1))
            tuner = tune.Tuner(AEPO.__name__, param_space=config, run_config=run_config(folder, steps, save_every))
        if not ray.is_initialized():
            ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
        return tuner.fit()


def run_config(folder: Path, steps: int, save_every: int) -> tune.RunConfig:
    return tune.RunConfig(
        name=folder.name,
        storage_path=str(folder.parent),
        stop={"training_iteration": steps},
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=save_every),
        failure_config=tune.FailureConfig(max_failures=1),  # a trial whose process dies goes on, once
        verbose=0,
    )


def settings_of(folder: Path, config: AEPOConfig, steps: int) -> dict[str, Any]:
    """What decides a search, as far as JSON can tell it; of functions and classes the type.

    The folder is a part of it: of a search that was moved, Tune writes new trials to the old place.
    """
    settings = {"folder": str(folder), "steps": steps, **config.to_dict()}
    return json.loads(json.dumps(settings, skipkeys=True, default=lambda value: type(value).__name__))


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on with other settings: Tune would take some for new trials, and none for those that have begun."""
    try:
        held = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        changed = [key for key in {**held, **settings} if held.get(key) != settings.get(key)]
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise ValueError(
            f"{folder} is not empty, and its {SETTINGS} is missing or damaged; choose another --output"
        ) from error
    if changed:
        [key, *_] = changed
        raise ValueError(
            f"{folder} holds a search with {key}={held.get(key)!r}, and now it is {settings.get(key)!r}; "
            "take the old settings to go on with it, or another --output for the new ones"
        )


def restored(folder: Path, config: AEPOConfig) -> tune.Tuner:
    """A search as it was left. Where Tune cannot read its state, it would start every trial again."""
    file = newest = max(folder.glob("experiment_state-*.json"), default=folder / "experiment_state-*.json")
    variants = folder / newest.name.replace("experiment_state", "basic-variant-state")
    try:
        for file, load in ((folder / TUNER, cloudpickle.loads), (newest, json.loads), (variants, cloudpickle.loads)):
            load(file.read_bytes())
        file = newest
        # Trials that do not exist yet need the space, and those that failed are to be tried again.
        tuner = tune.Tuner.restore(str(folder), AEPO.__name__, param_space=config, resume_errored=True)
        tuner.get_results()
    except Exception as error:  # damaged pickles raise anything
        raise ValueError(
            f"{file} is missing or damaged ({type(error).__name__}), and without it Tune cannot go on; what its trials "
            f"saved remains in the folders of {folder}; search again with another --output"
        ) from error
    return tuner


def outcome(result: tune.Result, steps: int) -> tuple[str, bool]:
    """A line about a trial, and whether it has ended well."""
    metrics = result.metrics or {}
    done = metrics.get("training_iteration", 0)
    if result.error or done < steps:
        [*_, cause] = (str(result.error).strip() or repr(result.error)).splitlines()
        reason = f"failed ({cause})" if result.error else "was interrupted"
        return f"{Path(result.path).name}: {reason} after {done} of {steps} steps", False
    return (
        f"target {result.config['target_entropy']}: entropy {metrics['main']['exact_entropy']:.3f} "
        f"(aimed at {metrics['control']['target_entropy']:.3f}), reward {metrics['main']['reward_mean']:.3f}"
    ), True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("runs/targets"))
    arguments = parser.parse_args()

    config = (
        AEPOConfig()
        .entropy_control(target_entropy=tune.grid_search(TARGETS))
        .evaluation(evaluation_interval=None)
        .debugging(seed=0)
    )
    try:
        results = search(arguments.output, config, steps=arguments.steps, save_every=20)
    except (ValueError, OSError) as error:
        parser.exit(2, f"Error: {visible(error)}\n")
    outcomes = sorted(outcome(result, arguments.steps) for result in results)
    for line, _ in outcomes:
        print(visible(line))
    ray.shutdown()
    if sum(well for _, well in outcomes) < len(TARGETS):  # after Ctrl-C some trials may not exist
        parser.exit(1, "The same command tries again what has not ended.\n")


if __name__ == "__main__":
    main()
