"""Names in settings that anybody may have written: known ones only, and nothing that is the user's own is loaded."""

from __future__ import annotations

import re

from aepo_rllib.eval.json_input import MAX_NAME_CHARS, one_of, shown, text
from aepo_rllib.support.plugins import is_own

# The tables are imported when they are asked for: whoever only compares reports, or reads a help text, needs none of
# these modules, and some load torch.


def known_template(name: str) -> None:
    """Refuse (ValueError) what is no prompt template."""
    from aepo_rllib.envs.prompts import get_template

    get_template(name)


def known_form(name: str) -> None:
    """Refuse (ValueError) what is no answer form."""
    from aepo_rllib.envs.grading import FORMS

    one_of(FORMS)(name)


def known_grader(name: str) -> None:
    """Refuse (ValueError) what is no rule of this package; a function of the user's own is let through, and not loaded.

    `check_trusted` is for that.
    """
    from aepo_rllib.envs.grading import get_verifier

    text(MAX_NAME_CHARS)(name)
    if not is_own(name):
        get_verifier(name)


def known_dtype(name: str) -> None:
    """Refuse (ValueError) what is no dtype of weights."""
    from aepo_rllib.models.hf import DTYPES

    one_of(DTYPES)(name)


def known_frame(name: str) -> None:
    """Refuse (ValueError) what frames no prompt template."""
    from aepo_rllib.envs.prompts import TEMPLATES

    one_of({template.frame for template in TEMPLATES.values()})(name)


def engine_name(name: str) -> None:
    """Refuse (ValueError) what can name no engine; none is looked up, see `aepo_rllib.rollout.engine_identity`."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(f"must be the name of an engine, got {shown(name)}")


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
