"""Arguments of the maths environment: what can be said of them before it reads a problem or starts a process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aepo_rllib.envs.grading.pool import check_limits
from aepo_rllib.envs.grading.verifiers import check_form
from aepo_rllib.envs.own_templates import portable_template
from aepo_rllib.envs.problems import ProblemSet, absolute_source, load_problems
from aepo_rllib.envs.problems.rows import DEFAULT_VERIFIER
from aepo_rllib.envs.prompts import form_of
from aepo_rllib.support.plugins import absolute


def check_env_arguments(
    *,
    template: str = "plain",
    answer_form: str | None = None,
    verifier: str | None = None,
    grader_workers: int = 2,
    grader_deadline_s: float = 3.0,
    **others: Any,
) -> str:
    """Refuse arguments of `MathTextEnv` that it cannot work with, before it reads a problem or starts a process.

    Args:
        template: See there, as the next four.
        answer_form: In which answers are read.
        verifier: What judges problems that name no verifier.
        grader_workers: Number of processes.
        grader_deadline_s: Seconds a comparison may take.
        others: Left to `aepo_rllib.envs.problems.load_problems`.

    Returns:
        The answer form in use: the one asked for, else the template's, else a box.

    Raises:
        ValueError: of the wrong kind, out of range or unknown; names the argument.
    """
    form = form_of(template, answer_form)
    check_limits(grader_workers, grader_deadline_s, prefix="grader_")
    check_form(form, verifier or DEFAULT_VERIFIER, template)
    return form


def check_verifiers(problems: ProblemSet, form: str, template: str) -> None:
    """Refuse problems whose own verifier does not read the form (ValueError)."""
    for name in sorted({problems[place].verifier for place in range(len(problems))}):
        check_form(form, name, template)


def problems_of(arguments: Mapping[str, Any]) -> ProblemSet:
    """The problems that an environment with these arguments asks.

    Raises:
        ProblemError: they cannot be used; names the source, and file and line of a malformed row.
    """
    return load_problems(
        arguments["problems"],
        split=arguments.get("split", "train"),
        fields=arguments.get("fields"),
        seed=arguments.get("problem_seed", 0),
        verifier=arguments.get("verifier"),
        drop_conflicts=arguments.get("drop_conflicts", False),
        held_out=arguments.get("held_out", 0.0),
    )


def absolute_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an environment with absolute paths, for processes that work in other folders."""
    changed = dict(arguments)
    if "problems" in arguments:
        changed["problems"] = absolute_source(arguments["problems"])
    if "template" in arguments:
        changed["template"] = portable_template(arguments["template"])
    if isinstance(arguments.get("verifier"), str):
        changed["verifier"] = absolute(arguments["verifier"])
    return changed
