"""The tutorials do as they stand what they say: all their blocks, in their order, in one folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT, blocks

pytestmark = [pytest.mark.slow, pytest.mark.process]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    """A block that begins with the name of a file is saved as it."""
    bin_folder = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    for block in blocks(page):
        if block.language == "bash" and block.runs:
            command = ["bash", "-euo", "pipefail", "-c", block.text]
            done = subprocess.run(
                command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=3000, check=False
            )
            assert done.returncode == 0, f"{page}:{block.line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        elif block.language != "bash" and block.text.startswith("# "):
            name, _, text = block.text.removeprefix("# ").partition("\n")
            (tmp_path / name).write_text(text)
