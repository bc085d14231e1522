"""Names of parts: the package's own, entry points, modules and files; and what users read when one is wrong."""

from __future__ import annotations

import collections
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aepo_rllib.support.plugins import Lazy, absolute, find, known, load
from tests.support.installed import install

GROUP = "aepo_rllib.tests"
BUILTIN = {"dict": dict, "counter": collections.Counter}
PART = """
from dataclasses import dataclass
from beside import BONUS

class Part(dict):
    bonus = BONUS

@dataclass
class Setting:
    part: type = Part
    number: int = 3

value = 7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("BONUS = 5\n")
    (tmp_path / "own.v1 part.py").write_text(PART)
    return tmp_path


def test_the_packages_own_names_come_first_then_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "first", {GROUP: {"ordered": "collections:OrderedDict", "dict": "collections:OrderedDict"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find("part", "dict", BUILTIN, GROUP) is dict
    assert find("part", "ordered", BUILTIN, GROUP, base=dict) is collections.OrderedDict
    assert find("part", "collections:UserDict", BUILTIN, GROUP) is collections.UserDict
    assert known(BUILTIN, GROUP) == ("dict", "counter", "ordered")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ordred", r"^unknown part 'ordred'; known: counter, dict, gone, number, ordered, twice, or module:class "
                   r"\(also path/to/file.py:class\) for one of your own; did you mean ordered\?$"),
        ("twice", "part 'twice' is collections:OrderedDict and collections:UserDict of installed packages; name one"),
        ("gone", r"part 'gone': no_such_module:Part of first cannot be imported \(ModuleNotFoundError"),
        ("number", "part 'number': 3.14.* is no subclass of dict"),
        ("json:loads", "part 'json:loads': <function loads .* is no subclass of dict"),
        ("collections:OrderdDict", "collections has no class OrderdDict; did you mean OrderedDict"),
        ("no/such.py:Part", r"no/such.py cannot be imported \(FileNotFoundError: there is no file no/such.py\)"),
        ("collections:", "write module:class, or path/to/file.py:class"),
        (None, "part=None must be a name"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_told_with_what_there_is(
    name: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"ordered": "collections:OrderedDict", "gone": "no_such_module:Part", "number": "math:pi"}
    install(tmp_path, "first", {GROUP: points | {"twice": "collections:OrderedDict"}})
    install(tmp_path, "second", {GROUP: {"twice": "collections:UserDict"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=message):
        find("part", name, BUILTIN, GROUP, kind="class", base=dict)


def test_a_table_of_places_imports_what_is_asked_for_and_nothing_else() -> None:
    table = Lazy({"here": "collections:OrderedDict", "gone": "no_such_module:Part"})
    assert list(table) == ["here", "gone"]
    assert "gone" in table
    assert table["here"] is collections.OrderedDict
    with pytest.raises(ModuleNotFoundError):
        table["gone"]


def test_a_file_is_one_module_however_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    part = load("part", "own.v1 part.py:Part")
    assert part.bonus == 5
    assert load("part", f"{folder}/../{folder.name}/own.v1 part.py:Part") is part
    assert absolute("own.v1 part.py:Part") == f"{folder}/own.v1 part.py:Part"
    assert absolute("own.part:Part") == "own.part:Part"


def test_a_file_that_raises_is_run_again_when_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "mended.py"
    file.write_text("1 / 0\n")
    with pytest.raises(ValueError, match=r"mended.py cannot be imported \(ZeroDivisionError"):
        load("part", f"{file}:value")
    file.write_text("value = 12\n")
    assert load("part", f"{file}:value") == 12


@pytest.mark.process
def test_objects_of_a_files_classes_travel_to_processes_that_know_nothing_of_the_file(folder: Path) -> None:
    """As Ray sends a config: by cloudpickle, which pickles classes of importable modules by reference."""
    from ray import cloudpickle

    setting = load("part", f"{folder}/own.v1 part.py:Setting")(number=4)
    code = "import pickle, sys; s = pickle.load(sys.stdin.buffer); print(s.number, s.part.bonus, 'ray' in sys.modules)"
    for sent in (pickle.dumps(setting), cloudpickle.dumps(setting)):
        assert b"bonus" not in sent
        done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, cwd="/", check=False)
        assert done.stdout.split() == [b"4", b"5", b"False"], done.stderr.decode()


@pytest.mark.process
def test_a_module_in_the_working_folder_is_found_by_a_command_that_does_not_look_there(folder: Path) -> None:
    (folder / "own_module.py").write_text("value = 11\n")
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if p]\n"
        "from aepo_rllib.support.plugins import load; print(load('part', 'own_module:value'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)
    assert done.stdout == "11\n", done.stderr
