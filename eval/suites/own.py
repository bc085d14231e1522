"""What a user brings along: problem sets, which are data, and lm-eval tasks, which are code.

Both come from the command line (or from Python), never from a folder with an evaluation in it: the problems that were
sampled lie in that folder as plain data, so that they can be graded again without their source; a task's YAML file may
name Python to be run, so whoever grades again has to name it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems import ProblemSet, load_problems
from aepo_rllib.eval.plan import Sources
from aepo_rllib.eval.suites.catalogue import read_config, suite_names
from aepo_rllib.eval.suites.naming import is_yaml, set_name, suite_hint
from aepo_rllib.support.plugins import find, known

GROUP = "aepo_rllib.suites"
"""Entry points: each a package, or the path of a folder, with YAML files of tasks and groups in it."""


@dataclass(frozen=True)
class Own:
    """What to evaluate on besides the suites of this package.

    Attributes:
        problems: Problem sets, by the name of the suite that each becomes.
        tasks: lm-eval tasks and groups, by name: the YAML file, or the folder that it is found in.
    """

    problems: Mapping[str, ProblemSet] = field(default_factory=dict)
    tasks: Mapping[str, Path] = field(default_factory=dict)


def find_sources(sources: Sources) -> tuple[tuple[str, ...], Own]:
    """The suites of this package that are meant, and what is the user's own.

    Problems are read here, and remembered; tasks are not loaded.

    Raises:
        aepo_rllib.envs.ProblemError: a problem set cannot be used.
        ValueError: an unknown suite or verifier, or two suites of one name.
    """
    package, tasks = split_suites(sources.suites or (), sources.include_path)
    problems = read_problem_sets(
        sources.problems, split=sources.split, fields=sources.fields, verifier=sources.verifier
    )
    return package, Own(problems, tasks)


def read_problem_sets(
    sources: Iterable[str],
    *,
    split: str = "test",
    fields: Mapping[str, str] | None = None,
    verifier: str | None = None,
) -> dict[str, ProblemSet]:
    """Problem sets of one's own, by the name of the suite that each becomes.

    Args:
        sources: Whatever `aepo_rllib.envs.load_problems` takes.
        split: Where a source has splits.
        fields: Which column holds what.
        verifier: How answers are judged where a row does not say.

    Raises:
        aepo_rllib.envs.ProblemError: a set cannot be used.
        ValueError: two suites of one name, or an unknown verifier.
    """
    found: dict[str, ProblemSet] = {}
    for source in dict.fromkeys(sources):
        name = set_name(source)
        _check_free(name, found, f"--problems {source}")
        found[name] = load_problems(source, split=split, fields=fields, verifier=verifier)
    return found


def split_suites(
    suites: Sequence[str], include_path: str | os.PathLike[str] | None = None
) -> tuple[tuple[str, ...], dict[str, Path]]:
    """The suites of this package, and the user's own tasks by name.

    Args:
        suites: Names, or YAML files of tasks. Names that are neither of this package nor in the folder are looked for
            in those of installed packages, see `GROUP`.
        include_path: Folder with YAML files of tasks and groups, subfolders included.

    Raises:
        ValueError: an unknown suite, one whose name this package has, or a file that is none.
    """
    folder = None if include_path is None else Path(include_path)
    if folder is not None and not folder.is_dir():
        raise ValueError(f"--include-path {folder}: there is no such folder")
    shipped, (there, broken) = suite_names(), ([], "") if folder is None else _names_in(folder)
    if clash := sorted(set(there) & set(shipped)):
        raise ValueError(
            f"--include-path {folder}: {clash[0]!r} is the name of a suite of this package; choose another"
        )
    own: dict[str, Path] = {}
    for name in suites:
        if is_yaml(name):
            if not Path(name).is_file():
                raise ValueError(f"--suite {name}: there is no such file")
            _check_free(task := _task_name(Path(name)), own, f"--suite {name}")
            own[task] = Path(name)
        elif folder is not None and name in there:
            own[name] = folder
        elif name not in shipped:
            has = broken or f"{folder} has {', '.join(there) or 'none'}"
            own[name] = _installed(name, "" if folder is None else has)
    return tuple(name for name in suites if name in shipped), own


def _installed(name: str, elsewhere: str) -> Path:
    """The folder of an installed package that a suite is in; `elsewhere` says what the user's own folder has."""
    names: list[str] = []
    for package in known({}, GROUP):
        there, _ = _names_in(folder := _folder_of(package))
        if name in there:
            return folder
        names += there
    hint = elsewhere or suite_hint(name, [*suite_names(), *names])
    raise ValueError(f"unknown suite {name[:100]!r}; {hint}")


def _folder_of(package: str) -> Path:
    found: Any = find("suites of", package, {}, GROUP)
    places = [found] if isinstance(found, str | os.PathLike) else getattr(found, "__path__", ())
    for place in map(Path, places):
        if place.is_dir():
            return place
    raise ValueError(f"suites of {package!r}: {found!r:.200} is neither a package nor a folder")


def _check_free(name: str, taken: Iterable[str], place: str) -> None:
    if name in taken or name in suite_names():
        raise ValueError(f"{place}: there is a suite {name!r} already; give it another name")


def _task_name(file: Path) -> str:
    config = read_config(file)
    name = config.get("task")
    if "group" in config or not isinstance(name, str):
        raise ValueError(
            f"--suite {file}: it names no single task; of a group give folder and name: "
            f"--include-path {file.parent} --suite NAME"
        )
    return name


def _names_in(folder: Path) -> tuple[list[str], str]:
    """Names of tasks and groups in a folder, and what is wrong with a file that could not be read."""
    names, broken = [], ""
    for file in sorted(folder.rglob("*.yaml")):
        try:
            config = read_config(file)
        except ValueError as error:  # as lm-eval does: not every YAML file in a folder need be a task
            broken = broken or str(error)
            continue
        name = config.get("group", config.get("task"))
        if isinstance(name, str):
            names.append(name)
    return names, broken
