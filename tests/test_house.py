"""The size of files and functions, and that nobody but a table asks for the name of a method, a dial or an engine."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from aepo_rllib.control.temperature_dials import TEMPERATURE_DIALS
from aepo_rllib.objectives.aggregation import AGGREGATIONS
from aepo_rllib.rollout import ENGINES
from tests.support.sources import MODULES

LONGEST_FILE, LONGEST_FUNCTION = 300, 60
METHODS = {path.stem for path in MODULES["aepo_rllib.algorithms"].parent.glob("*.py")} - {"__init__"}
NAMES = METHODS | set(TEMPERATURE_DIALS) | set(AGGREGATIONS) | set(ENGINES)


def test_the_table_of_methods_has_every_file() -> None:
    tree = ast.parse(MODULES["aepo_rllib.algorithms"].read_text())
    [table] = [
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ALGORITHMS"
    ]
    assert isinstance(table, ast.Dict)
    assert {ast.literal_eval(key) for key in table.keys if key is not None} == METHODS


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_at_once(module: str) -> None:
    text = MODULES[module].read_text()
    assert text.count("\n") <= LONGEST_FILE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno >= LONGEST_FUNCTION}
    assert not long


@pytest.mark.parametrize("module", MODULES)
def test_nobody_branches_on_a_name(module: str) -> None:
    assert not branches(MODULES[module])


def test_a_branch_on_a_name_would_be_seen(tmp_path: Path) -> None:
    file = tmp_path / "branching.py"
    file.write_text(
        'if engine == "vllm" or method in ("grpo", "x"):\n    pass\nmatch dial:\n    case "switch":\n        pass\n'
    )
    assert branches(file) == ["1: 'vllm'", "1: 'grpo'", "4: 'switch'"]


def branches(file: Path) -> list[str]:
    """Comparisons with a name, and cases of it: line and name."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        else:
            continue
        constants = [part for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)]
        found += [f"{constant.lineno}: {constant.value!r}" for constant in constants if constant.value in NAMES]
    return found
