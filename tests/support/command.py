"""The `aepo` command as a user runs it, what a run leaves in its folder, and the processes it starts."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from aepo_rllib.cli.main import cli

SMALL = ["--batch-size", "6", "--group-size", "4", "--set", "checkpoint_every=2", "--set", "evaluation_interval=3"]
"""Options of a run that takes a second a step."""


def aepo(*arguments: Any, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; `kwargs` go to `subprocess.run`."""
    command = [sys.executable, "-m", "aepo_rllib.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **kwargs)


def here(*arguments: Any, code: int = 0) -> str:
    """What a command prints that starts no Ray, run in this process, which saves seconds of imports."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output[-6000:]
    return str(done.output)


def records(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The records of a run's file, one a step."""
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """What two runs with one seed share."""
    return {key: value for key, value in record.items() if not key.startswith(("throughput", "time"))}


def weights_hash(run: Path) -> str:
    """SHA-256 of the exported weights."""
    return hashlib.sha256((run / "huggingface" / "model.safetensors").read_bytes()).hexdigest()


def children(pid: int) -> list[int]:
    """Ids of a process's children, theirs included."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is more than a zombie."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
