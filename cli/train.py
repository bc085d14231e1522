"""`aepo train`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from aepo_rllib.cli.errors import InputError, RunFailed, input_errors
from aepo_rllib.cli.failing import failure
from aepo_rllib.cli.last_words import last_words
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.ray_cluster import ADDRESS as RAY_ADDRESS
from aepo_rllib.cli.ray_cluster import ray_cluster
from aepo_rllib.cli.run_folder import METRICS, SAMPLES, RunFolder, check_unused_run
from aepo_rllib.cli.settings import RunSettings, build, merge, parse_assignments, resolved
from aepo_rllib.cli.stopping import stop_request
from aepo_rllib.cli.terminal import visible
from aepo_rllib.cli.yaml_input import read_mapping

if TYPE_CHECKING:
    from aepo_rllib.training.algorithm import TextRL
    from aepo_rllib.training.config import TextRLConfig

FINGERPRINTS = ("model_sha256", "problems_sha256")
CHECKPOINT_COPIES = 5
"""A checkpoint holds weights, two Adam moments and a Hugging Face copy; one more is being written."""


@click.command("train", context_settings={"show_default": False})
@click.option(
    "--algo",
    metavar="NAME",
    help="A method that `aepo methods` lists, or file.py:Config or module:Config of your own.  [default: aepo]",
)
@click.option("--model", "model_path", metavar="DIR_OR_ID", help="Hugging Face folder or id.  [default: embedded]")
@click.option(
    "--problems",
    metavar="SOURCE",
    help="arithmetic, a file (.jsonl, .json, .csv, .parquet), a saved dataset, a name in AEPO_DATA_DIR, or a dataset "
    "id.  [default: arithmetic]",
)
@click.option(
    "--target-entropy",
    metavar="H",
    help="Nats per token (0.43) or a fraction of the base entropy (0.5x); aepo only.  [default: 0.5x]",
)
@click.option("--steps", type=int, metavar="N", help="Training steps.  [default: 200]")
@click.option("--batch-size", type=int, metavar="N", help="Prompts per step.  [default: 16]")
@click.option("--group-size", type=int, metavar="N", help="Completions per prompt.  [default: 8]")
@click.option(
    "--num-env-runners",
    type=int,
    metavar="N",
    help="Ray actors that sample; 0 samples in this process.  [default: 0]",
)
@click.option(
    "--num-learners",
    type=int,
    metavar="N",
    help="Ray actors that learn; 0 learns in this process.  [default: 0]",
)
@click.option("--engine", metavar="NAME", help="Rollout engine: transformers or vllm.  [default: transformers]")
@click.option("--seed", type=int, metavar="N", help="Seed of problems and completions.  [default: 0]")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Run directory.  [default: runs/ALGO-DATE-TIME]",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML file with these options and any config key.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other config key, e.g. --set lr=1e-6. May be repeated; wins over --config.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, print the resolved configuration, and stop.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="RUN",
    help="Continue a run from its newest checkpoint. Checkpoints are pickles: resume only runs that you trust.",
)
@click.option(
    "--ray-address",
    metavar="HOST:PORT",
    help="Ray cluster to join.  [default: RAY_ADDRESS, else a local one that ends with the run]",
)
def train_command(**options: Any) -> None:
    """Train a language model on verifiable maths.

    Without options it trains the embedded model with AEPO on embedded arithmetic problems, in a few minutes on two
    cores and without a network. The run directory holds the resolved configuration (config.yaml), one line of
    metrics per step (metrics.jsonl, TensorBoard), sampled completions with their verdicts (samples.jsonl),
    checkpoints, plots, and the trained model as a Hugging Face directory (huggingface/).

    \b
    Examples:
      aepo train
      aepo train --algo grpo --steps 100 --output runs/baseline
      aepo train --target-entropy 1.0x --set alpha=3 --set temperature_high=1.3
      aepo train --algo aepo_authors --batch-size 16 --group-size 8 --set lr=6e-4 \\
                 --set max_new_tokens=64 --set replace_rows=8
      aepo train --model DIR --problems gsm8k.jsonl --set env_config.template=boxed \\
                 --set evaluation_interval=null --set max_new_tokens=512
      aepo train --problems mine.parquet --set env_config.verifier=my_rewards.py:reward
      aepo train --set env=my_module:MyEnvironment
      aepo train --resume runs/baseline --steps 300
    """
    from aepo_rllib.cli.screen import Screen

    console = Screen(markup=False, highlight=False, soft_wrap=True)
    started = time.monotonic()
    with contextlib.ExitStack() as claims:
        with input_errors():
            if options["ray_address"]:
                os.environ[RAY_ADDRESS] = options["ray_address"]
            values = _values(options)
            resume: Path | None = options["resume"]
            checkpoint, stored = None, {}
            if resume is not None:
                if options["output"] is not None:
                    raise ValueError(f"--output {options['output']} beside --resume: a run goes on in its own folder")
                folder = RunFolder(resume)
                stored = folder.config()
                claims.enter_context(folder.claimed())
                checkpoint = _checkpoint_of(folder, values.get("steps", stored.get("steps")), console)
            else:
                method = str(values.get("algo", "aepo")).rpartition(":")[2]
                default = Path("runs") / f"{method}-{time.strftime('%Y%m%d-%H%M%S')}"
                output = options["output"] or default
                if not options["dry_run"]:
                    check_unused_run(output)  # before the slow imports
            console.print("loading torch and ray ...", style="dim")
            import ray  # noqa: F401 - configures its loggers on import

            quiet_libraries()
            stored_fingerprints = {name: stored.pop(name, "") for name in FINGERPRINTS}
            settings, config = build(merge(stored, values))
            plain = resolved(settings, config) | _fingerprints(config)
            if resume:
                _check_same_run(stored | stored_fingerprints, plain, resolved(RunSettings(), type(config)()))
                if not options["dry_run"]:
                    folder.write_config(plain, folder.config_and_id()[1])  # with what was changed
            if options["dry_run"]:
                click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)
                return
            if not resume:
                needed = _bytes_needed(config, settings)
                folder = claims.enter_context(RunFolder.create(output, plain, bytes_needed=needed))
        _run(settings, config, folder, console, started, resuming=resume is not None, checkpoint=checkpoint)


def _checkpoint_of(folder: RunFolder, steps: Any, console: Any) -> Path | None:
    """Where a run goes on; None at its start.

    Raises:
        ValueError: the folder has lost something, or has more steps on record than are asked for.
    """
    checkpoint = folder.good_checkpoint(lambda text: console.print(visible(text)))
    folder.read(SAMPLES)
    recorded = folder.recorded_steps()
    if isinstance(steps, int) and steps < recorded:
        raise ValueError(f"--steps {steps} is less than the {recorded} steps that {folder.path} has on record")
    return checkpoint


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """File, then options, then --set: later ones win."""
    values = read_mapping(options["config_file"]) if options["config_file"] else {}
    for name in FINGERPRINTS:  # a run's own config.yaml: the same settings, whatever the weights
        values.pop(name, None)
    named = (
        "algo",
        "model_path",
        "steps",
        "batch_size",
        "group_size",
        "num_env_runners",
        "engine",
        "num_learners",
        "seed",
        "target_entropy",
    )
    given = {name: options[name] for name in named if options[name] is not None}
    if options["problems"] is not None:
        given["env_config"] = {"problems": options["problems"]}
    return merge(merge(values, given), parse_assignments(options["assignments"]))


def _run(
    settings: RunSettings,
    config: TextRLConfig,
    folder: RunFolder,
    console: Any,
    started: float,
    *,
    resuming: bool,
    checkpoint: Path | None,
) -> None:
    from aepo_rllib.cli.loop import summary, train

    console.print(f"run directory: {folder.path}")
    with stop_request(console) as stop, last_words(folder) as tell:

        def end(cause: str) -> None:
            stop.cause = cause
            tell(cause)  # at once: Ray may end this process before the step does

        try:
            with ray_cluster(console.print, end):
                stop.listen()  # Ray has put handlers of its own in place
                with stopped(config) as algo:
                    algo.run_id = folder.config_and_id()[1]
                    if resuming:
                        _restore(algo, checkpoint, folder, console)
                    console.print(f"ready after {time.monotonic() - started:.0f} s", style="dim")
                    train(algo, settings, folder, console, stop)
        except KeyboardInterrupt:
            stop.signal = stop.signal or signal.SIGINT
        except click.ClickException:
            raise
        except SystemExit as error:
            # While Ray starts, SIGTERM is its own to handle; and it ends a process that has lost its raylet.
            if error.code != signal.SIGTERM:
                raise failure(error, folder, cause=stop.cause or "Ray ended the run's process") from error
            stop.signal = signal.SIGTERM
        except Exception as error:
            raise failure(error, folder, cause=stop.cause) from error
    if stop.cause:
        raise RunFailed(f"{stop.cause}; {folder.way_on()}")
    console.print(summary(folder) if folder.read(METRICS) else "no step was finished", soft_wrap=False)
    if stop.signal is not None:
        console.print(f"interrupted; continue with: aepo train --resume {folder.path}")
        raise SystemExit(128 + stop.signal)
    console.print(f"next: aepo eval {folder.path}")


def _restore(algo: TextRL, checkpoint: Path | None, folder: RunFolder, console: Any) -> None:
    """Bring back a checkpoint, and drop the records of steps that will be done again."""
    folder.remove_unfinished()
    folder.set_damaged_aside()
    if checkpoint is None:
        console.print("no checkpoint was due yet: starting from step 1")
    else:
        algo.restore_from_path(str(checkpoint.resolve()), verified=True)  # when it was chosen
        console.print(f"resuming after step {algo.train_steps}")
    for name in (METRICS, SAMPLES):
        if folder.cut(name, algo.train_steps):
            console.print(f"{name} ended with half a line, or a damaged one, which was cut off")


FREE = {
    "steps",
    "checkpoint_every",
    "keep_checkpoints",
    "samples_per_step",
    "num_env_runners",
    "sample_timeout_s",
    "max_unjudged_share",
    "max_env_runner_restarts_per_hour",
    "env_runner_restore_timeout_s",
    "env_runner_health_probe_timeout_s",
    "delay_between_env_runner_restarts_s",
}
FREE_OF_PROBLEMS = {"grader_workers", "grader_deadline_s"}
"""Settings that change nothing a run computes, and may be what it needs to go on."""


def _check_same_run(stored: dict[str, Any], asked: dict[str, Any], defaults: dict[str, Any]) -> None:
    """A resumed run may only grow longer, and get more time and processes.

    Args:
        stored: What the run was started with; an option that did not exist then had its default.
        asked: What it is to go on with.
        defaults: Of its algorithm.

    Raises:
        ValueError: another option differs; names them.
    """

    def fixed(values: dict[str, Any], key: str) -> Any:
        value = values.get(key, defaults.get(key))
        if key == "env_config" and isinstance(value, dict):
            return {name: setting for name, setting in value.items() if name not in FREE_OF_PROBLEMS}
        return value

    differing = [
        f"{key} (was {stored.get(key)!r}, now {asked.get(key)!r})"
        for key in sorted(stored.keys() | asked.keys())
        if key not in FREE and fixed(stored, key) != fixed(asked, key)
    ]
    if differing:
        raise ValueError(f"--resume continues the same run, but these differ: {'; '.join(differing)}")


def _fingerprints(config: TextRLConfig) -> dict[str, str]:
    """What a resumed run must find unchanged; "" where it cannot be known beforehand.

    Weights, and problems with the reward functions of the user's that judge them.
    """
    from aepo_rllib.envs.grading.rewards import is_own, source_of
    from aepo_rllib.envs.text_env import ENV_ID
    from aepo_rllib.models.fingerprint import model_fingerprint

    digest, functions = hashlib.sha256(), set[str]()
    if config.env == ENV_ID:
        for problem in config.load_problems():
            digest.update(f"{problem.id}\0{problem.text}\0{problem.answer}\0".encode())
            if problem.turns:
                digest.update(repr(problem.turns).encode())
            if is_own(problem.verifier):
                functions.add(problem.verifier)
                digest.update(json.dumps([problem.verifier, problem.extra], sort_keys=True, default=str).encode())
        for name in sorted(functions):
            digest.update(source_of(name))
    return {
        "model_sha256": model_fingerprint(config.model_path),
        "problems_sha256": digest.hexdigest() if config.env == ENV_ID else "",
    }


def _bytes_needed(config: TextRLConfig, settings: RunSettings) -> int:
    from aepo_rllib.models.hf import resolve_model

    weights = sum(file.stat().st_size for file in Path(resolve_model(config.model_path)).glob("*.safetensors"))
    return weights * CHECKPOINT_COPIES * (settings.keep_checkpoints + 1)


@contextlib.contextmanager
def stopped(config: TextRLConfig) -> Iterator[TextRL]:
    """An algorithm that is stopped at the end."""
    try:
        algo = config.build_algo()
    except (ValueError, OSError) as error:
        raise InputError(error) from error
    try:
        yield algo
    finally:
        algo.stop()
