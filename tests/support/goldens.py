"""Numbers computed with the peers' own code, stored in tests/golden/.

Every file names peer and version, every case the function that was called and its arguments. Tensors are named
alike in all files (`log_prob`, `old_log_prob`, `response_mask`, `advantages` per row, ...). The fixture behind most
cases: 6 responses in 2 groups of 3, at most 5 tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "golden"
GROUP_SIZE = 3
ASKED: set[tuple[str, str]] = set()
"""Peer and name of every case that some test has asked for."""
TOLERANCES = {"float64": 1e-6, "float32": 1e-4}


def golden_cases(peer: str, prefix: str | tuple[str, ...] = "") -> list[Any]:
    """Parameters for pytest: the cases of a peer whose names start with `prefix`, or with one of several.

    Their ids name peer, version and case.
    """
    content = json.loads((FOLDER / f"{peer}.json").read_text())
    tolerance = TOLERANCES[content["dtype"]]
    found = [case | {"tolerance": tolerance} for case in content["cases"] if case["name"].startswith(prefix)]
    assert found, f"no case of {peer} starts with {prefix!r}"
    ASKED.update((peer, case["name"]) for case in found)
    version = content["version"].split()[0]
    return [pytest.param(case, id=f"{peer}-{version}-{case['name']}") for case in found]


def tensor(case: dict[str, Any], name: str) -> torch.Tensor:
    """An input or output of a case, in float64; JSON has no NaN, so that it is the text "nan"."""
    return torch.from_numpy(np.array((case["inputs"] | case["outputs"])[name], dtype=np.float64))
