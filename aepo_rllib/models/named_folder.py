"""Model names that can only mean a folder of this machine, or an embedded model."""

from __future__ import annotations

import re
from pathlib import Path

from aepo_rllib.support.arguments import did_you_mean

EMBEDDED, EMBEDDED_CHAIN = "embedded", "embedded-chain"
"""Names of the models that ship with the package: for its default problems, and for chains."""
EMBEDDED_MODELS = {EMBEDDED: "model", EMBEDDED_CHAIN: "chain"}
"""All that ship with it, with their folders; docs/embedded-model.md says what each can do."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def is_here(model: str) -> bool:
    """Whether this is an embedded model's name, or a folder: anything else would be asked of a hub."""
    return model in EMBEDDED_MODELS or Path(model).is_dir()


def check_named_folder(model: str) -> None:
    """Refuse a folder that is not there, before a hub is asked for it.

    Raises:
        FileNotFoundError: the name is that of no folder, and cannot be one of a hub's either.
    """
    if is_here(model):
        return
    if model.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(model):
        raise FileNotFoundError(f"there is no folder {model}, and it is no model id (org/name)")
    if hint := did_you_mean(model, EMBEDDED_MODELS):
        raise FileNotFoundError(f"there is no folder {model}{hint}")
