"""What `aepo train --resume` checks and brings back, and what it recognises a run by."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aepo_rllib.cli.run_folder import METRICS, SAMPLES, RunFolder
from aepo_rllib.support.plugins import is_own, load
from aepo_rllib.support.terminal import visible

if TYPE_CHECKING:
    from aepo_rllib.training.algorithm import TextRL
    from aepo_rllib.training.config import TextRLConfig

FINGERPRINTS = ("model_sha256", "problems_sha256", "code_sha256")
FREE = {
    "steps",
    "checkpoint_every",
    "keep_checkpoints",
    "samples_per_step",
    "track",
    "export_checkpoints",
    "num_env_runners",
    "num_cpus_per_env_runner",
    "num_gpus_per_env_runner",
    "num_learners",
    "num_cpus_per_learner",
    "num_gpus_per_learner",
    "learner_sharding",
    "rows_per_backward",
    "tokens_per_backward",
    "checkpoint_activations",
    "sample_timeout_s",
    "max_unjudged_share",
    "max_env_runner_restarts_per_hour",
    "env_runner_restore_timeout_s",
    "env_runner_health_probe_timeout_s",
    "delay_between_env_runner_restarts_s",
}
FREE_OF_PROBLEMS = {"grader_workers", "grader_deadline_s"}
"""Settings that change nothing a run computes, and may be what it needs to go on."""


def check_same_run(stored: dict[str, Any], asked: dict[str, Any], defaults: dict[str, Any]) -> None:
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


def checkpoint_of(folder: RunFolder, steps: Any, console: Any) -> Path | None:
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


def restore(algo: TextRL, checkpoint: Path | None, folder: RunFolder, console: Any) -> None:
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


def fingerprints(config: TextRLConfig) -> dict[str, str]:
    """What a resumed run must find unchanged; "" where it cannot be known beforehand.

    Weights, problems with the reward functions of the user's that judge them, and whatever else is written by the user.
    """
    from aepo_rllib.envs.grading.rewards import source_of
    from aepo_rllib.envs.text_env import ENV_ID
    from aepo_rllib.models.fingerprint import model_fingerprint

    digest, functions = hashlib.sha256(), set[str]()
    if config.env == ENV_ID:
        for problem in config.load_problems():
            digest.update(f"{problem.id}\0{problem.text}\0{problem.answer}\0".encode())
            if config.curriculum_steps:
                digest.update(f"{problem.level}\0".encode())
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
        "code_sha256": _code_fingerprint(config),
    }


def _code_fingerprint(config: TextRLConfig) -> str:
    """Of the files that the user's own method, dial and engine are written in; "" where all are the package's."""
    named = [name for name in (config.engine, getattr(config, "controller", "")) if is_own(name)]
    parts = [type(config), *(load("name", name) for name in named)]
    files = {inspect.getsourcefile(part) for part in parts if not part.__module__.startswith("aepo_rllib.algorithms.")}
    contents = [Path(file).read_bytes() for file in sorted(filter(None, files))]
    return hashlib.sha256(b"\0".join(contents)).hexdigest() if contents else ""
