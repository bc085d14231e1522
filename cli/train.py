"""`aepo train`."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import yaml

from aepo_rllib.cli import early
from aepo_rllib.cli.config_file import ConfigFile
from aepo_rllib.cli.errors import InputError, RunFailed, input_errors
from aepo_rllib.cli.failing import failure
from aepo_rllib.cli.given import given_values
from aepo_rllib.cli.last_words import last_words
from aepo_rllib.cli.memory import check_memory, show_memory
from aepo_rllib.cli.options import Known
from aepo_rllib.cli.quiet import quiet_libraries
from aepo_rllib.cli.ray_cluster import ADDRESS as RAY_ADDRESS
from aepo_rllib.cli.ray_cluster import ray_cluster
from aepo_rllib.cli.resuming import FINGERPRINTS, check_same_run, checkpoint_of, fingerprints, restore
from aepo_rllib.cli.run_folder import RunFolder, check_unused_run
from aepo_rllib.cli.saying import QUIET, loudness, say
from aepo_rllib.cli.settings import DEFAULT_ALGO, RunSettings, build, merge, resolved
from aepo_rllib.cli.stopping import stop_request

if TYPE_CHECKING:
    from aepo_rllib.training.algorithm import TextRL
    from aepo_rllib.training.config import TextRLConfig


@click.command("train", context_settings={"show_default": False})
@click.option(
    "--algo",
    type=Known(early.known_methods),
    metavar="NAME",
    help="A method that `aepo methods` lists, or file.py:Config or module:Config of your own.  [default: aepo_steady]",
)
@click.option("--model", "model_path", metavar="DIR_OR_ID", help="Hugging Face folder or id.  [default: embedded]")
@click.option(
    "--problems",
    metavar="SOURCE",
    help="arithmetic, a file (.jsonl, .json, .csv, .parquet), a saved dataset, a name in AEPO_DATA_DIR, a dataset id, "
    "or a mix such as countdown3=2,chain=1.  [default: arithmetic]",
)
@click.option(
    "--template",
    type=Known(early.known_templates),
    metavar="NAME|FILE.yaml",
    help="Prompt template, or a file of your own: text, frame, system, examples (docs/prompts.md).  [default: plain]",
)
@click.option(
    "--target-entropy",
    metavar="H",
    help="Nats per token (0.43) or a fraction of the base entropy (0.5x).  [default: 1.0x]",
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
@click.option(
    "--engine",
    type=Known(early.known_engines),
    metavar="NAME",
    help="Rollout engine: transformers or vllm.  [default: transformers]",
)
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
    type=ConfigFile(),
    help="YAML file with these options and any config key, or recipe:NAME (docs/scale.md), as "
    "recipe:qwen2.5-math-7b-8x80gb.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other config key (docs/configuration.md, `aepo methods NAME`), e.g. --set lr=1e-6. May be repeated; wins "
    "over --config.",
)
@click.option(
    "--track",
    type=Known(early.known_trackers),
    multiple=True,
    metavar="NAME",
    help="Show the run there, too: wandb or mlflow, or module:Class of your own. May be repeated (docs/watching.md).",
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

    Without options it trains the embedded model with AEPO on embedded arithmetic problems, holding the entropy that it
    began with, in a few minutes on two cores and without a network; `--algo aepo` is the paper's own dial. The run
    directory holds the resolved configuration (config.yaml), one line of metrics per step (metrics.jsonl,
    TensorBoard), sampled completions with their verdicts (samples.jsonl),
    checkpoints, plots, a page that shows it all (run.html), and the trained model as a Hugging Face directory
    (huggingface/).

    \b
    Examples:
      aepo train
      aepo train --algo grpo --steps 100 --output runs/baseline
      aepo train --target-entropy 1.0x --set alpha=3 --set temperature_high=1.3
      aepo train --algo aepo_authors --batch-size 16 --group-size 8 --set lr=6e-4 \\
                 --set max_new_tokens=64 --set replace_rows=8
      aepo train --model DIR --problems gsm8k.jsonl --template boxed \\
                 --set evaluation_interval=null --set max_new_tokens=512
      aepo train --problems mine.parquet --set env_config.verifier=my_rewards.py:reward
      aepo train --set env=my_module:MyEnvironment
      aepo train --resume runs/baseline --steps 300
    """
    from aepo_rllib.cli.screen import Screen

    # What a dry run prints is its configuration.
    console = Screen(markup=False, highlight=False, soft_wrap=True, stderr=options["dry_run"])
    started = time.monotonic()
    with contextlib.ExitStack() as claims:
        with input_errors():
            if options["ray_address"]:
                os.environ[RAY_ADDRESS] = options["ray_address"]
            prepare = resumed_run if options["resume"] else new_run
            prepared = prepare(options, given_values(options), console, claims)
        if prepared is not None:
            _run(*prepared, console, started, resuming=bool(options["resume"]))


class Prepared(NamedTuple):
    """A run that can start.

    Attributes:
        settings, config: What it is.
        folder: Claimed for it.
        checkpoint: Where it goes on; None at its start.
    """

    settings: RunSettings
    config: TextRLConfig
    folder: RunFolder
    checkpoint: Path | None = None


def new_run(
    options: Mapping[str, Any], values: Mapping[str, Any], console: Any, claims: contextlib.ExitStack
) -> Prepared | None:
    """A run in a folder of its own; None where it was only to be looked at."""
    method = str(values.get("algo", DEFAULT_ALGO)).rpartition(":")[2]
    output = options["output"] or Path("runs") / f"{method}-{time.strftime('%Y%m%d-%H%M%S')}"
    if options["output"] or not options["dry_run"]:
        check_unused_run(output)  # before the slow imports
    early.check_early(values)
    _load_ray(values)
    settings, config = build(values)
    plain = resolved(settings, config) | fingerprints(config)
    if options["dry_run"]:
        _show(plain, settings, config)
        return None
    needed = check_memory(config, settings)
    return Prepared(settings, config, claims.enter_context(RunFolder.create(output, plain, bytes_needed=needed)))


def resumed_run(
    options: Mapping[str, Any], values: Mapping[str, Any], console: Any, claims: contextlib.ExitStack
) -> Prepared | None:
    """A run that goes on; None where it was only to be looked at."""
    if options["output"] is not None:
        raise ValueError(f"--output {options['output']} beside --resume: a run goes on in its own folder")
    folder = RunFolder(options["resume"])
    stored = folder.config()
    claims.enter_context(folder.claimed())
    checkpoint = checkpoint_of(folder, values.get("steps", stored.get("steps")), console)
    stored_fingerprints = {name: stored.pop(name, "") for name in FINGERPRINTS}
    early.check_early(merge(stored, values))
    _load_ray(stored)
    settings, config = build(merge(stored, values))
    plain = resolved(settings, config) | fingerprints(config)
    check_same_run(stored | stored_fingerprints, plain, resolved(RunSettings(), type(config)()))
    if options["dry_run"]:
        _show(plain, settings, config)
        return None
    check_memory(config, settings)
    folder.write_config(plain, folder.config_and_id()[1])  # with what was changed
    return Prepared(settings, config, folder, checkpoint)


def _load_ray(values: Mapping[str, Any]) -> None:
    say("loading torch and ray ...")
    early.tell_of_hub(values.get("model_path"))
    import ray  # noqa: F401 - configures its loggers on import

    quiet_libraries()


def _show(plain: Mapping[str, Any], settings: RunSettings, config: TextRLConfig) -> None:
    show_memory(config, settings)
    click.echo(yaml.safe_dump(dict(plain), sort_keys=False, allow_unicode=True), nl=False)


def _run(
    settings: RunSettings,
    config: TextRLConfig,
    folder: RunFolder,
    checkpoint: Path | None,
    console: Any,
    started: float,
    *,
    resuming: bool,
) -> None:
    from aepo_rllib.cli.loop import train
    from aepo_rllib.cli.screen import Screen
    from aepo_rllib.cli.summary import tell_end
    from aepo_rllib.cli.trackers import tracked

    notes = Screen(markup=False, highlight=False, soft_wrap=True, quiet=loudness() == QUIET)
    notes.print(f"run directory: {folder.path}")
    if config.holds_out():
        trained, held = (len(config.load_problems(split=split)) for split in ("train", "validation"))
        notes.print(f"{held} of {trained + held} problems are held out for validation (validation_share)")
    with stop_request(console) as stop, last_words(folder) as tell:

        def end(cause: str) -> None:
            stop.cause = cause
            tell(cause)  # at once: Ray may end this process before the step does

        try:
            with tracked(folder, settings.track) as trackers, ray_cluster(console.print, end):
                stop.listen()  # Ray has put handlers of its own in place
                with stopped(config) as algo:
                    algo.run_id = folder.config_and_id()[1]
                    if resuming:
                        restore(algo, checkpoint, folder, console)
                    notes.print(f"ready after {time.monotonic() - started:.0f} s", style="dim")
                    train(algo, settings, folder, notes, stop, trackers)
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
    tell_end(folder, console)
    if stop.signal is not None:
        console.print(f"interrupted; continue with: aepo train --resume {folder.path}")
        raise SystemExit(128 + stop.signal)
    console.print(f"next: aepo eval {folder.path}")


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
