"""From the suites of an evaluation to lm-eval tasks."""

from __future__ import annotations

import logging
from typing import Any

from lm_eval.tasks import TaskManager

from aepo_rllib.envs.problems import ProblemError, ProblemSet
from aepo_rllib.eval.data import GivenProblems, as_problem
from aepo_rllib.eval.spec import EvaluationSpec
from aepo_rllib.eval.suites.catalogue import SHIPPED_FOLDER
from aepo_rllib.eval.suites.naming import check_suites, is_yaml
from aepo_rllib.eval.suites.own import Own
from aepo_rllib.eval.task import PassAtKTask, shared_config

_VERSION = 2.0


def load_tasks(spec: EvaluationSpec, own: Own | None = None) -> dict[str, Any]:
    """The suites as lm-eval tasks, with this run's sampling. (`simple_evaluate` would do it, and shell out to git.)

    Args:
        spec: Of the evaluation.
        own: Problem sets and tasks of the user's own that it names.

    Raises:
        aepo_rllib.envs.ProblemError: a suite's problems cannot be read.
        ValueError: unknown suite, template or grader, a task of the user's own that nobody but the spec has named,
            or one that is no pass@k task.
    """
    own = own or Own()
    # lm-eval takes the path of any YAML file as a task's name, and such a file may name code to be run.
    check_suites(spec.suites)
    if unnamed := [name for name in spec.own_suites if name not in own.tasks]:
        raise ValueError(
            f"suite {unnamed[0][:100]!r} is a task of the user's own, a file that may run code: name it on the command "
            "line, with --suite FILE.yaml or --include-path FOLDER"
        )
    # lm-eval explains its own options here, once per suite, to those who have typed none of them.
    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)
    folders = sorted({str(path) for path in own.tasks.values() if not is_yaml(path.name)})
    # Without lm-eval's own tasks: looking through all of their files takes ten seconds.
    manager = TaskManager(
        include_path=[str(SHIPPED_FOLDER), *folders], include_defaults=False, metadata=spec.metadata()
    )
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for name in spec.suites:  # one by one: lm-eval refuses groups that share a suite
        _add(loaded, manager.load([name]))
    for name in spec.own_problems:
        _add(loaded, manager.load([_task_of(name, own.problems[name])]))
    for name in spec.own_suites:
        _add(loaded, _load_own(manager, name, own))
    for task in loaded["tasks"].values():
        task.set_config("generation_kwargs", spec.generation(), update=True)
        task.reads_turns = True
    return {kind: entries for kind, entries in loaded.items() if entries}


def _add(loaded: dict[str, Any], more: Any) -> None:
    for kind, entries in more.items():
        loaded[kind] |= entries


def _task_of(name: str, problems: ProblemSet) -> dict[str, Any]:
    """The configuration of a suite of given problems."""
    mine = {"task": name, "custom_dataset": GivenProblems(problems), "metadata": {"version": _VERSION}}
    return shared_config() | mine


def _load_own(manager: TaskManager, name: str, own: Own) -> Any:
    place = own.tasks[name]
    if not is_yaml(place.name) and name not in manager.task_index:  # or it would be taken for a file's name
        raise ValueError(f"suite {name!r} of {place} cannot be loaded: lm-eval does not read its file, or its include")
    try:
        found = manager.load([str(place) if is_yaml(place.name) else name])
    except (ProblemError, ValueError):
        raise
    except Exception as error:  # it is anybody's code
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"suite {name!r} of {place} cannot be loaded ({reason})") from error
    for task_name, task in found["tasks"].items():
        if not isinstance(task, PassAtKTask):
            raise ValueError(
                f"suite {task_name!r} of {place} is no pass@k task: let its YAML file say "
                "`class: !function aepo_rllib.eval.task.PassAtKTask`"
            )
        _check_docs(task_name, task)
    return found


def _check_docs(name: str, task: PassAtKTask) -> None:
    """Refuse, before anything is sampled, documents that could not be graded."""
    for number, doc in enumerate(task.test_docs()):
        try:
            as_problem(doc)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"suite {name!r}: document {number} is no problem ({type(error).__name__}: {error}); "
                "`aepo_rllib.eval.data.as_doc` makes one"
            ) from error
