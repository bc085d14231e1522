"""Who may import whom: every folder of the package is a room, and its imports say where it stands.

Imports inside functions count, and names of modules that stand as texts (an engine's, imported when it is chosen);
those under TYPE_CHECKING do not.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import MODULES, ROOT, module_of

VOCABULARY = {"_version", "columns", "metrics", "metrics_page"}
"""Single files that only name things."""
BELOW_TRAINING = {
    "control",
    "envs",
    "experience",
    "learning",
    "models",
    "objectives",
    "rollout",
    "sampling",
    "support",
    "transfer",
}
MAY_IMPORT: dict[str, set[str]] = {
    "support": set(),
    "objectives": {"support"},
    "control": {"support"},
    "envs": {"support"},
    "models": {"objectives", "envs", "support", *VOCABULARY},
    "rollout": {"models", "objectives", "support", "transfer"},
    "transfer": set(),
    "experience": {"objectives", "envs", "support", *VOCABULARY},
    "sampling": {"experience", "rollout", "models", "envs", "support", "rllib_seam", *VOCABULARY},
    "learning": {
        "experience",
        "rollout",
        "models",
        "objectives",
        "transfer",
        "envs",
        "support",
        "rllib_seam",
        *VOCABULARY,
    },
    "training": {*BELOW_TRAINING, "rllib_seam", *VOCABULARY},
    "algorithms": {"training", *BELOW_TRAINING, *VOCABULARY},
    "doctor": {"algorithms", "training", *BELOW_TRAINING, "rllib_seam", *VOCABULARY},
    "planning": {"training", *BELOW_TRAINING, *VOCABULARY},
    "eval": {"rollout", "models", "envs", "support", *VOCABULARY},
    "study": {"eval", "support", *VOCABULARY},
    "cli": {
        "eval",
        "study",
        "doctor",
        "planning",
        "algorithms",
        "training",
        *BELOW_TRAINING,
        "rllib_seam",
        "options_page",
        "",
        *VOCABULARY,
    },
    "rllib_seam": {"support"},
    "": {"algorithms", "training", "_version"},  # the package itself: lazily
    "recipes": set(),
    "_version": set(),
    "columns": set(),
    "metrics": {"envs"},
    "metrics_page": {"envs", "metrics"},
    "options_page": {"algorithms", "training", "support"},
    "options_table": {"algorithms", "training", "control", "rollout", "support"},
    "methods_page": {"algorithms", "training", "options_page"},
    "cli_page": {"cli"},
    "templates_page": {"envs"},
    "api_page": {
        "",
        "algorithms",
        "training",
        "control",
        "objectives",
        "rollout",
        "models",
        "envs",
        "eval",
        "cli",
        "support",
    },
}
"""Rooms of ours that a room knows; "" is the package's own file."""

HEAVY = {"ray", "torch", "transformers", "lm_eval", "vllm"}
MAY_LOAD: dict[str, set[str]] = {
    "objectives": {"torch"},
    "models": {"torch", "transformers"},
    "rollout": {"torch", "transformers", "vllm"},
    "experience": {"torch"},
    "sampling": {"torch", "ray"},
    "transfer": {"torch", "ray"},
    "learning": {"torch", "ray", "transformers"},
    "training": {"torch", "ray", "transformers"},
    "algorithms": {"torch", "ray"},
    "doctor": {"torch", "ray", "transformers"},
    "planning": {"torch", "ray", "transformers"},
    "rllib_seam": {"torch", "ray"},
    "options_table": {"ray"},
    "eval": {"torch", "transformers", "lm_eval"},
    "cli": HEAVY,
}
"""Heavy packages that a room may load; rooms that are not named load none."""
RAY_ROOMS = {"", *(room for room, loads in MAY_LOAD.items() if "ray" in loads)}
ALSO_LOADS = {"aepo_rllib.eval.callback": {"ray"}}
"""RLlib's callback stands beside what it calls."""


def room_of(module: str) -> str:
    """The room of a module of ours; "" for the package's own file."""
    return module.split(".")[1] if "." in module else ""


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """Modules that a file imports, ours with their full name, and the lines."""
    for node in counted(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in {name if name in MODULES else str(node.module) for name in full}:
                yield name, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if name in MODULES and "." in name:
                yield name, node.lineno


def counted(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, but for what only type checkers see."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and child in node.body):
            yield from counted(child)


def test_every_room_has_its_rules() -> None:
    assert {room_of(module) for module in MODULES} <= set(MAY_IMPORT)
    assert set(MAY_LOAD) <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_those_it_may_know(room: str) -> None:
    strangers = []
    for module, file in MODULES.items():
        if room_of(module) != room:
            continue
        for name, line in imported(file):
            if name.partition(".")[0] == "aepo_rllib":
                allowed = room_of(name) in MAY_IMPORT[room] | {room}
            else:
                loads = MAY_LOAD.get(room, set()) | ALSO_LOADS.get(module, set())
                allowed = name.partition(".")[0] not in HEAVY - loads
            if not allowed:
                strangers.append(f"{file}:{line} imports {name}")
    assert not strangers, "\n".join(strangers)


def test_rooms_stand_above_one_another() -> None:
    """The rules have no circle: `algorithms` above `training` above ... above `support`."""
    left = {room: rooms - {room} for room, rooms in MAY_IMPORT.items()}
    while free := {room for room, rooms in left.items() if not rooms & left.keys()}:
        left = {room: rooms for room, rooms in left.items() if room not in free}
    assert not left


IMPORT_ALL = """
import importlib, sys
blocked, *modules = sys.argv[1:]
sys.modules |= dict.fromkeys(blocked.split(","))
for module in modules:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "vllm":  # not everyone has it
            raise
        print("without vllm:", module)
loaded = set(blocked.split(",")) & {name.partition(".")[0] for name, found in sys.modules.items() if found}
assert not loaded, loaded
print("imported", len(modules))
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("rooms", "blocked"),
    [
        (("support", "control", "envs", "_version", "columns", "metrics"), ("ray", "torch", "transformers", "lm_eval")),
        (("objectives",), ("ray", "transformers", "lm_eval")),
        (("models", "rollout"), ("ray", "lm_eval")),
    ],
    ids=lambda names: "+".join(names),
)
def test_a_room_imports_where_what_it_does_not_need_is_missing(
    rooms: tuple[str, ...], blocked: tuple[str, ...]
) -> None:
    modules = sorted(module for module in MODULES if room_of(module) in rooms)
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(blocked), *modules]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ, check=False)
    assert result.returncode == 0, result.stderr
    assert f"imported {len(modules)}" in result.stdout


COLLECT = """
import sys
sys.modules["ray"] = None
import pytest
sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def knows_ray(test: Path) -> bool:
    """Whether a test file, or what it shares with others, imports Ray or a room that does."""
    for name, _ in imported(test):
        top = name.partition(".")[0]
        if top == "ray" or (top == "aepo_rllib" and room_of(name) in RAY_ROOMS):
            return True
        shared = ROOT / (name.replace(".", "/") + ".py")
        if top == "tests" and shared.is_file() and knows_ray(shared):
            return True
    return False


@pytest.mark.process
def test_tests_of_rooms_without_ray_load_none() -> None:
    """So they start at once, and show that the rooms need none."""
    pure = [str(file) for file in (ROOT / "tests").rglob("test_*.py") if not knows_ray(file)]
    assert len(pure) > 30
    command = [sys.executable, "-c", COLLECT, *pure]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stdout[-5000:]


def test_module_names_follow_the_folders() -> None:
    assert module_of(Path("envs/grading/pool.py")) == "aepo_rllib.envs.grading.pool"
    assert module_of(Path("aepo_rllib/rollout/__init__.py")) == "aepo_rllib.rollout"
    assert module_of(Path("aepo_rllib/__init__.py")) == "aepo_rllib"
