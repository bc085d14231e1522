"""What every setting in an evaluation.json must be: names are known ones, numbers lie within a range."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aepo_rllib.eval.checks import MAX_SAMPLES, check_suites, is_yaml, set_name
from aepo_rllib.eval.json_input import (
    MAX_NAME_CHARS,
    Check,
    anything,
    known,
    listed,
    mapped,
    number,
    one_of,
    optional,
    shown,
    text,
    whole,
)
from aepo_rllib.eval.suites import suite_names
from aepo_rllib.support.plugins import is_own

MAX_TEXT = 1_000_000
"""Characters of a text that is shown, or compared, and nothing else."""
MAX_TEMPERATURE = 1000
"""Beyond, every token is as likely as any other."""


def _task_name(name: str) -> None:
    text(MAX_NAME_CHARS)(name)
    if not name or "/" in name or is_yaml(name):
        raise ValueError(f"must be the name of a task and no file, got {shown(name)}")


def check_trusted(verifier: str, named: str | None, place: object) -> None:
    """Refuse to run a function that only a folder names.

    Args:
        verifier: What the folder names.
        named: What the user has named.
        place: Where in the folder.

    Raises:
        ValueError: it is a function that the user has not named.
    """
    if is_own(verifier) and named is None:
        raise ValueError(
            f"{place} names the function {shown(verifier)} to judge answers; if you know it and trust it, name it "
            f"yourself: --grader {verifier[:MAX_NAME_CHARS]}"
        )


def _known_suite(name: str) -> None:
    check_suites([name])


# Imported when they are asked for: whoever only compares reports needs none of these modules, and some load torch.


def _known_template(name: str) -> None:
    from aepo_rllib.envs.prompts import get_template

    get_template(name)


def _known_form(name: str) -> None:
    from aepo_rllib.envs.grading import FORMS

    one_of(FORMS)(name)


def _grader(name: str) -> None:
    """A rule of this package, or a function of the user's own, which is not loaded: `check_trusted` is for that."""
    from aepo_rllib.envs.grading import get_verifier

    text(MAX_NAME_CHARS)(name)
    if not is_own(name):
        get_verifier(name)


def _set_name(name: str) -> None:
    text(MAX_NAME_CHARS)(name)
    if name != set_name(name) or name in suite_names():  # it is the name of a file, too
        raise ValueError(f"must be the name of a problem set, got {shown(name)}")


def _engine_name(name: str) -> None:
    """An engine is only named here, and none is looked up: see `aepo_rllib.rollout.engine_identity`."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(f"must be the name of an engine, got {shown(name)}")


def _known_dtype(name: str) -> None:
    from aepo_rllib.models.hf import DTYPES

    one_of(DTYPES)(name)


def _known_frame(name: str) -> None:
    from aepo_rllib.envs.prompts import TEMPLATES

    one_of({template.frame for template in TEMPLATES.values()})(name)


_COUNT = whole(1, 10**9)
_SEED = whole(0, 2**64 - 1)

SETTINGS: Mapping[str, Check] = {
    "model": text(MAX_TEXT),
    "suites": listed(known(_known_suite), empty=True),
    "own_problems": listed(_set_name, empty=True),
    "own_suites": listed(_task_name, empty=True),
    "n": whole(1, MAX_SAMPLES),
    "ks": optional(listed(whole(1, MAX_SAMPLES))),
    "temperature": number(0, MAX_TEMPERATURE),
    "top_p": number(0, 1, above=True),
    "max_new_tokens": optional(_COUNT),
    "limit": optional(_COUNT),
    "seed": _SEED,
    "template": optional(known(_known_template)),
    "answer_form": optional(known(_known_form)),
    "grader": optional(_grader),
    "identity": mapped(anything),
    "first_prompts": mapped(text(MAX_TEXT)),
    "problems": mapped(text(MAX_TEXT)),
}
"""Settings of an evaluation, see `aepo_rllib.eval.plan.Plan`."""

IDENTITY: Mapping[str, Check] = {
    "model": text(MAX_TEXT),
    "engine": known(_engine_name),
    "dtype": known(_known_dtype),
    "frame": known(_known_frame),
    "system": optional(text(MAX_TEXT)),
    "stop_ids": listed(whole(0, 2**31 - 1)),
    "seed": _SEED,
}
"""What tells the model of an evaluation, see `aepo_rllib.eval.sampling.models.SamplingLM.identity`."""
