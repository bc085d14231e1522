"""Model names that can only mean a folder of this machine."""

from __future__ import annotations

import re
from pathlib import Path

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_named_folder(model: str) -> None:
    """Refuse a folder that is not there, before a hub is asked for it.

    Raises:
        FileNotFoundError: the name is that of no folder, and cannot be one of a hub's either.
    """
    is_path = model.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(model)
    if is_path and not Path(model).is_dir():
        raise FileNotFoundError(f"there is no folder {model}, and it is no model id (org/name)")
