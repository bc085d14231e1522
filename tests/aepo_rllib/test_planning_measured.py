"""What is planned for a pass is what a process takes for it: four layers of Qwen2.5-0.5B with its 151,936 tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.sources import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.mark.parametrize("checkpoint", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("share_prompts", [True, False], ids=["shared", "padded"])
def test_a_pass_takes_the_bytes_that_are_planned(share_prompts: bool, checkpoint: bool) -> None:
    command = [sys.executable, "-m", "tests.support.pass_memory", str(share_prompts), str(checkpoint)]
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["forecast"] == pytest.approx(found["measured"], rel=0.1)
    assert found["measured"] > 10**9
