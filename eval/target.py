"""What to evaluate: a model's name, its folder, or a training run. Cheap: nothing is loaded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EMBEDDED, HF_FOLDER, INFO_FILE = "embedded", "huggingface", "aepo.json"
"""As in `aepo_rllib.hf` and `aepo_rllib.export`; spelled out because importing those loads torch."""

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True)
class Target:
    """A model to evaluate.

    Attributes:
        model: Hugging Face folder or id, or "embedded".
        output: Where its reports go unless told otherwise.
        template: Name of the prompt template it was trained with; None where nobody says.
    """

    model: str
    output: Path
    template: str | None = None


def find_target(text: str) -> Target:
    """The model behind what the user gave.

    A training run stands for its newest export.

    Raises:
        ValueError: no such folder, or a folder with no model in it.
    """
    folder = Path(text).expanduser()
    if text == EMBEDDED:
        return Target(text, Path(f"eval-{text}"))
    if (folder / "config.json").is_file():
        return Target(str(folder), Path(f"eval-{folder.resolve().name}"), _template(folder))
    if folder.is_dir():
        export = newest_export(folder)
        return Target(str(export), folder / "eval", _template(export))
    if not _HUB_ID.fullmatch(text) or ("/" in text and folder.parent.is_dir()):
        raise ValueError(f"there is no folder {text}")
    return Target(text, Path(f"eval-{text.rpartition('/')[2]}"))


def newest_export(run: Path) -> Path:
    """The exported model of a run that has seen the most steps, checkpoints included.

    Raises:
        ValueError: there is none.
    """
    folders = [run, *(run / "checkpoints").glob("[!.]*")]
    exports = [folder / HF_FOLDER for folder in folders if (folder / HF_FOLDER / "config.json").is_file()]
    if not exports:
        raise ValueError(
            f"{run} is neither a model (config.json) nor a run with an exported one "
            f"({HF_FOLDER}/ or checkpoints/*/{HF_FOLDER}/)"
        )
    return max(exports, key=lambda export: (_step(export), export.parent == run, export.parent.name))


def _step(export: Path) -> int:
    """The training step an export was made at; -1 when it does not say."""
    step = _info(export).get("step")
    return step if isinstance(step, int) else -1


def _template(export: Path) -> str | None:
    template = _info(export).get("template")
    return template if isinstance(template, str) else None


def _info(export: Path) -> dict[str, Any]:
    """What training has written beside a model; empty when it has not."""
    try:
        info = json.loads((export / INFO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}
