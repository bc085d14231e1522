"""What every setting in an evaluation.json must be: names are known ones, numbers lie within a range."""

from __future__ import annotations

from collections.abc import Mapping

from aepo_rllib.eval.checks import MAX_SAMPLES, check_suites
from aepo_rllib.eval.json_input import Check, anything, known, listed, mapped, number, one_of, optional, text, whole

MAX_TEXT = 1_000_000
"""Characters of a text that is shown, or compared, and nothing else."""
MAX_TEMPERATURE = 1000
"""Beyond, every token is as likely as any other."""


def _known_suite(name: str) -> None:
    check_suites([name])


# Imported when they are asked for: whoever only compares reports needs none of these modules, and some load torch.


def _known_template(name: str) -> None:
    from aepo_rllib.envs.prompts import get_template

    get_template(name)


def _known_grader(name: str) -> None:
    from aepo_rllib.envs.grading import get_verifier

    get_verifier(name)


def _known_engine(name: str) -> None:
    from aepo_rllib.rollout import ENGINES

    one_of(ENGINES)(name)


def _known_dtype(name: str) -> None:
    from aepo_rllib.hf import DTYPES

    one_of(DTYPES)(name)


def _known_frame(name: str) -> None:
    from aepo_rllib.envs.prompts import TEMPLATES

    one_of({template.frame for template in TEMPLATES.values()})(name)


_COUNT = whole(1, 10**9)
_SEED = whole(0, 2**64 - 1)

SETTINGS: Mapping[str, Check] = {
    "model": text(MAX_TEXT),
    "suites": listed(known(_known_suite)),
    "n": whole(1, MAX_SAMPLES),
    "ks": optional(listed(whole(1, MAX_SAMPLES))),
    "temperature": number(0, MAX_TEMPERATURE),
    "top_p": number(0, 1, above=True),
    "max_new_tokens": optional(_COUNT),
    "limit": optional(_COUNT),
    "seed": _SEED,
    "template": optional(known(_known_template)),
    "grader": optional(known(_known_grader)),
    "identity": mapped(anything),
    "first_prompts": mapped(text(MAX_TEXT)),
    "problems": mapped(text(MAX_TEXT)),
}
"""Settings of an evaluation, see `aepo_rllib.eval.plan.Plan`."""

IDENTITY: Mapping[str, Check] = {
    "model": text(MAX_TEXT),
    "engine": known(_known_engine),
    "dtype": known(_known_dtype),
    "frame": known(_known_frame),
    "system": optional(text(MAX_TEXT)),
    "stop_ids": listed(whole(0, 2**31 - 1)),
    "seed": _SEED,
}
"""What tells the model of an evaluation, see `aepo_rllib.eval.sampling.models.SamplingLM.identity`."""
