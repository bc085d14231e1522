"""What is installed is all of it: the list of packages, the wheel, its data, its modules by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.sources import FOLDERS, MODULES, ROOT, module_of, package_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def installed_as(file: Path) -> str:
    """Where a file of the source tree lies in the installed one."""
    folder, *parts = file.parts
    return "/".join([FOLDERS[folder].replace(".", "/"), *parts])


def test_the_list_of_packages_names_every_folder_of_code() -> None:
    assert {name: folder for folder, name in FOLDERS.items()} == SETUPTOOLS["package-dir"]
    folders = {file.parent for file in package_files()}
    assert sorted(SETUPTOOLS["packages"]) == sorted(module_of(folder / "__init__.py") for folder in folders)
    code = {file.parent for file in package_files() if file.suffix == ".py"}
    assert not [folder for folder in code if not (ROOT / folder / "__init__.py").is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel of this tree holds; built from a copy, so that nothing is left behind here."""
    home = tmp_path_factory.mktemp("wheel")
    source = home / "source"
    for folder in FOLDERS:
        links = [link.name for link in (ROOT / folder).iterdir() if link.is_symlink()]
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", *links))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(home), str(source)], capture_output=True, text=True, timeout=300, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    [file] = home.glob("aepo_rllib-*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(home / "installed")
    return home / "installed"


@pytest.mark.process
def test_a_wheel_holds_every_file_and_nothing_else(wheel: Path) -> None:
    expected = {installed_as(file) for file in package_files()}
    held = {str(file.relative_to(wheel)) for file in wheel.rglob("*") if file.is_file()}
    assert {name for name in held if ".dist-info/" not in name} == expected
    assert {Path(name).suffix for name in expected} >= {".safetensors", ".json", ".yaml", ".html", ".typed"}


IMPORT_ALL = """
import importlib, sys
home, *modules = sys.argv[1:]
for name in modules:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "vllm":  # not everyone has it
            raise
        continue
    assert module.__file__.startswith(home), (name, module.__file__)
from importlib.resources import files
assert (files("aepo_rllib.models.embedded.model") / "model.safetensors").stat().st_size > 500_000
from aepo_rllib.eval.suites.catalogue import all_suites
assert len(all_suites()) > 10
"""


@pytest.mark.process
def test_every_module_of_a_wheel_can_be_imported(wheel: Path, tmp_path: Path) -> None:
    """In a process that finds the wheel before the source tree."""
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(wheel)!r})\n{IMPORT_ALL}", str(wheel), *MODULES],
        capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.process
def test_the_command_of_a_wheel_is_ours(wheel: Path, tmp_path: Path) -> None:
    """As the script runs it that pip writes."""
    [points] = wheel.glob("*.dist-info/entry_points.txt")
    line = next(line for line in points.read_text().splitlines() if line.startswith("aepo ="))
    module, _, function = line.partition("=")[2].strip().partition(":")
    code = f"import sys; sys.path.insert(0, {str(wheel)!r}); from {module} import {function}; {function}(['--version'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    [metadata] = wheel.glob("*.dist-info/METADATA")
    version = next(line for line in metadata.read_text().splitlines() if line.startswith("Version: "))
    assert version.split()[1] in result.stdout
