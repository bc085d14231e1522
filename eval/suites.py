"""Which suites there are. Cheap: no lm-eval, no torch."""

from __future__ import annotations

from pathlib import Path

TASKS_FOLDER = Path(__file__).parent / "tasks"
"""What stock lm-eval takes as `--include_path`."""


def suite_names() -> list[str]:
    """Names of all suites; a suite's file is called like its task."""
    return sorted(file.stem for file in TASKS_FOLDER.glob("*.yaml"))
