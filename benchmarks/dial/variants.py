"""The runs of the study: which there are, and how each is started, resumed and evaluated.

Every run is an `aepo train` of its own in a folder of its own, so that an interrupted study goes on where it was: a
finished run is left alone, a started one resumes from its checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

METRICS, MODEL = "metrics.jsonl", "huggingface/config.json"
SUITE, SAMPLES = "aepo_countdown4", 1024
ABLATION_TARGET = "1.0x"
"""The highest target: a method without a hold falls away from it."""


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: In tables, plots and folder names.
        algo: `aepo train --algo`.
        settings: Config keys that differ from the defaults.
        group: The table and the plot it belongs to: "main", "alpha" or "ablations". One seed is enough for the last.
    """

    name: str
    algo: str = "aepo"
    settings: Mapping[str, object] = field(default_factory=dict)
    group: str = "main"


STRONG = {"alpha": 2}
"""What the highest target takes; the defaults hold the others."""
VARIANTS = (
    Variant("GRPO", algo="grpo"),
    Variant("AEPO 0.5x", settings={"target_entropy": "0.5x"}),
    Variant("AEPO 0.75x", settings={"target_entropy": "0.75x"}),
    Variant("AEPO 1.0x", settings={"target_entropy": "1.0x"}),
    Variant("AEPO 1.0x, alpha 2", settings={"target_entropy": "1.0x", **STRONG}),
    Variant("AEPO 0.5x, alpha 2", settings={"target_entropy": "0.5x", **STRONG}, group="alpha"),
    Variant("AEPO 0.75x, alpha 2", settings={"target_entropy": "0.75x", **STRONG}, group="alpha"),
    Variant("T_high only", algo="aepo_constant", settings={"temperature": 1.2, **STRONG}, group="ablations"),
    Variant("T = 1 only", algo="aepo_constant", settings={"temperature": 1.0, **STRONG}, group="ablations"),
    Variant("T_low only", algo="aepo_constant", settings={"temperature": 0.8, **STRONG}, group="ablations"),
    Variant(
        "importance-corrected",
        algo="aepo_corrected",
        settings={"target_entropy": ABLATION_TARGET, **STRONG},
        group="ablations",
    ),
    Variant(
        "both signs",
        algo="aepo_signed",
        settings={"target_entropy": ABLATION_TARGET, **STRONG},
        group="ablations",
    ),
)


@dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    variant: Variant
    seed: int
    steps: int
    root: Path

    @property
    def folder(self) -> Path:
        """The run directory."""
        name = "-".join(self.variant.name.lower().replace("=", "").replace(",", "").split())
        return self.root / f"{name}-seed{self.seed}"

    @property
    def evaluation(self) -> Path:
        """Where its pass@k lies."""
        return self.folder / f"eval-{SUITE}"

    def steps_done(self) -> int:
        """Training steps with metrics on disk."""
        file = self.folder / METRICS
        return file.read_bytes().count(b"\n") if file.is_file() else 0

    def finished(self) -> bool:
        """Whether all steps are done and the model is exported."""
        return self.steps_done() >= self.steps and (self.folder / MODEL).is_file()

    def train_command(self) -> list[str]:
        """Starts the run, or resumes it."""
        if (self.folder / "config.yaml").is_file():
            return aepo("train", "--resume", str(self.folder), "--steps", str(self.steps))
        settings = {"evaluation_interval": "null", "checkpoint_every": 100, **self.variant.settings}
        assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return aepo(
            "train",
            *("--algo", self.variant.algo, "--steps", str(self.steps), "--seed", str(self.seed)),
            *("--output", str(self.folder), *assignments),
        )


def evaluation_command(model: str, output: Path) -> list[str]:
    """pass@k of a model on the hardest family."""
    return aepo("eval", model, "--suite", SUITE, "--n", str(SAMPLES), "--output", str(output), "--overwrite")


def aepo(*arguments: str) -> list[str]:
    """The `aepo` command of this very interpreter."""
    return [sys.executable, "-m", "aepo_rllib.cli.main", *arguments]


def launch(command: list[str], log: Path) -> None:
    """Run a command with one thread per process, its output in a file.

    Raises:
        RuntimeError: it failed; holds the end of what it said.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, check=False
        )
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
