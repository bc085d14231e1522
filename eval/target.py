"""What to evaluate: a model's name, its folder, or a training run. Cheap: nothing is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aepo_rllib.eval.json_input import Check, known, one_of, read_object, whole, within
from aepo_rllib.models.named_folder import EMBEDDED_MODELS

HF_FOLDER, INFO_FILE = "huggingface", "aepo.json"
"""As in `aepo_rllib.models.export`; spelled out because importing that loads torch."""

_CHECKPOINT = re.compile(r"step_[0-9]+")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True)
class Target:
    """A model to evaluate.

    Attributes:
        model: Hugging Face folder or id, or "embedded".
        output: Where its reports go unless told otherwise.
        template: Name of the prompt template it was trained with; None where nobody says.
        answer_form: In which its answers are read; None where the template says it.
    """

    model: str
    output: Path
    template: str | None = None
    answer_form: str | None = None


def find_target(text: str, template: str | None = None, answer_form: str | None = None) -> Target:
    """The model behind what the user gave.

    A training run stands for its newest export.

    Args:
        text: A model's folder or id, "embedded", or a run's folder.
        template: Name of the prompt template to use, whatever the model was trained with.
        answer_form: The answer form to read; a model's own holds for its own template only.

    Raises:
        ValueError: no such folder, a folder with no model in it, or one whose `aepo.json` names an unknown template.
        OSError: a folder cannot be read.
    """
    from aepo_rllib.envs.own_templates import portable_template

    folder, template = Path(text).expanduser(), portable_template(template)
    if text in EMBEDDED_MODELS:
        return Target(text, Path(f"eval-{text}"), template, answer_form)
    if (folder / "config.json").is_file():
        return Target(str(folder), Path(f"eval-{folder.resolve().name}"), *_prompting(folder, template, answer_form))
    if folder.is_dir():
        export = newest_export(folder)
        return Target(str(export), folder / "eval", *_prompting(export, template, answer_form))
    if not _HUB_ID.fullmatch(text) or ("/" in text and folder.parent.is_dir()):
        raise ValueError(f"there is no folder {text}")
    return Target(text, Path(f"eval-{text.rpartition('/')[2]}"), template, answer_form)


def newest_export(run: Path) -> Path:
    """The exported model of a run that has seen the most steps, checkpoints included.

    Raises:
        ValueError: there is none, or one whose step is none; names its file.
        OSError: the folder cannot be read.
    """
    exports = [folder / HF_FOLDER for folder in _folders(run) if (folder / HF_FOLDER / "config.json").is_file()]
    if not exports:
        raise ValueError(
            f"{run} is neither a model (config.json) nor a run with an exported one "
            f"({HF_FOLDER}/ or checkpoints/step_*/{HF_FOLDER}/)"
        )
    return max(exports, key=lambda export: (_step(export), export.parent == run, export.parent.name))


def _folders(run: Path) -> list[Path]:
    """Where a run's exports lie. A folder of another name in its checkpoints is none of training's."""
    checkpoints = run / "checkpoints"
    found = checkpoints.iterdir() if checkpoints.is_dir() else ()
    return [run, *(folder for folder in found if _CHECKPOINT.fullmatch(folder.name))]


def _step(export: Path) -> int:
    """The training step an export was made at; -1 where it does not say: that file is written last."""
    step = _info(export, "step", whole(0, 10**12))
    return -1 if step is None else step


def _prompting(export: Path, template: str | None, answer_form: str | None) -> tuple[str | None, str | None]:
    """Template and answer form: those asked for, else the model's own, whose form holds for its own template alone."""
    from aepo_rllib.envs.grading import FORMS  # loads numpy
    from aepo_rllib.envs.prompts import get_template

    form = answer_form or (None if template else _info(export, "answer_form", one_of(FORMS)))
    return template or _info(export, "template", known(get_template)), form


def _info(export: Path, name: str, check: Check) -> Any:
    """What training has written beside a model; None where it has not."""
    file = export / INFO_FILE
    value = read_object(file).get(name) if file.is_file() else None
    if value is not None:
        with within(file), within(name):
            check(value)
    return value
