"""What looks wrong in an evaluation, why that may be, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aepo_rllib.envs.prompts import TEMPLATES, get_template

TOO_MANY = 0.5
"""A share of samples that no measurement should rest on."""


def advice(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for everything that makes scores say little of the model, with the option that cures it.

    Args:
        summary: The content of passk.json.
    """
    return [f"{suite}: {text}" for suite, scores in summary["suites"].items() for text in _of(scores)]


def unused_chat_template(template: str | None, chat_template: str | None) -> str | None:
    """A warning where a model has a chat template, and its prompts go without; None where they do not.

    Args:
        template: Name of the prompt template.
        chat_template: The tokenizer's.
    """
    if not chat_template or get_template(template or "plain").frame != "none":
        return None
    chats = ", ".join(each.name for each in TEMPLATES.values() if each.frame == "model")
    asked = f"--template {template}" if template else "the suite's own prompt"
    return (
        f"the model has a chat template, and {asked} does not use it: a chat model that is asked without scores far "
        f"lower. Take --template chat or another that does ({chats}); ignore this for a base model"
    )


def _of(scores: Mapping[str, Any]) -> list[str]:
    found = []
    cut, silent = scores["truncated"] or 0.0, scores["no_answer"] or 0.0
    if cut > TOO_MANY:
        limit = scores.get("max_gen_toks")
        where = f" of {limit} tokens" if limit else ""
        found.append(
            f"{100 * cut:.0f} % of the samples were cut off at the limit{where}, so they could not end with an answer: "
            "raise --max-new-tokens"
        )
    if silent > TOO_MANY and silent > cut:
        found.append(
            f"{100 * silent:.0f} % of the samples hold no answer in the form that is looked for: ask for one with "
            "--template, or name the form that the model uses with --answer-form (`aepo regrade DIR --answer-form "
            "NAME` tries it without sampling)"
        )
    if scores["avg@n"] == 0:
        asked = (
            "samples.html shows what was asked and said; is this the model's own --template, and the right --grader?"
        )
        reason = " for that reason" if found else f", though they hold answers: {asked}"
        found.append(f"no sample of any problem is correct{reason}")
    return found
