"""Prompt templates of one's own: a YAML file, or the same in one line, which travels with a run's settings.

text: "Q: {problem}\\nA:"
frame: model              # none (the default), chatml, or the model's own chat template
system: Be brief.
answer_form: box
examples:                 # shown before the problem
  - {problem: "2 + 2", completion: "It is \\\\boxed{4}."}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from aepo_rllib.envs.prompts import FRAMES, PROBLEM, Example, PromptTemplate
from aepo_rllib.support.arguments import unknown
from aepo_rllib.support.options import TEXT, Option, check_values, choice
from aepo_rllib.support.yaml_input import parse_mapping, read_mapping

ENDINGS = (".yaml", ".yml")
MAX_CHARS = 100_000
KEYS: dict[str, Option] = {
    "name": TEXT,
    "text": TEXT,
    "frame": choice(*FRAMES),
    "system": Option(str, optional=True),
    "answer_form": Option(str, optional=True),
}
"""Keys of a template's file, besides its examples."""
EXAMPLES = "examples"
EXAMPLE_KEYS: dict[str, Option] = {"problem": TEXT, "completion": TEXT}


def is_own_template(name: str) -> bool:
    """Whether a template's name is a file's, or the template itself."""
    return name.endswith(ENDINGS) or name.lstrip().startswith("{")


def own_template(name: str) -> PromptTemplate:
    """The template in a file, or in one line.

    Raises:
        ValueError: no file, or no template; names file and key.
    """
    if not name.endswith(ENDINGS):
        return _in_a_line(name)
    try:
        return _template(read_mapping(Path(name)), name, Path(name).stem)
    except OSError as error:
        raise ValueError(f"prompt template {name}: {error.strerror or error}") from error


def portable_template(name: Any) -> Any:
    """A template's name as another process and another machine understand it: that of a file becomes the template in
    one line, every other stays.

    Raises:
        ValueError: as `own_template`.
    """
    if not isinstance(name, str) or not name.endswith(ENDINGS):
        return name
    told = {key: value for key, value in asdict(own_template(name)).items() if value not in (None, ())}
    return json.dumps(told, ensure_ascii=False)


@lru_cache(maxsize=64)
def _in_a_line(text: str) -> PromptTemplate:
    return _template(parse_mapping(text[:MAX_CHARS], "prompt template"), "prompt template", "own")


def _template(values: Mapping[str, Any], place: str, name: str) -> PromptTemplate:
    from aepo_rllib.envs.grading.answers import FORMS  # which imports `PromptTemplate`

    try:
        for key in values:
            if key not in (known := (*KEYS, EXAMPLES)):
                raise ValueError(unknown("key", key, known))
        check_values(values, KEYS)
        text, form = values.get("text", PROBLEM), values.get("answer_form")
        if text.count(PROBLEM) != 1:
            raise ValueError(f"text must have {PROBLEM} once, where the problem goes")
        if form is not None and form not in FORMS:
            raise ValueError(f"answer_form: {unknown('form', form, FORMS)}; there are {', '.join(FORMS)}")
        if values.get("system") and values.get("frame", "none") == "none":
            raise ValueError("system is a turn of a chat, and frame none writes none; set frame: model or chatml")
        examples = tuple(map(_example, _listed(values.get(EXAMPLES) or ())))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    return PromptTemplate(**{"name": name, **values, EXAMPLES: examples})


def _listed(examples: Any) -> list[Any]:
    if not isinstance(examples, list | tuple):
        raise ValueError("examples must be a list, each {problem: ..., completion: ...}")
    return list(examples)


def _example(values: Any) -> Example:
    if not isinstance(values, Mapping) or values.keys() != EXAMPLE_KEYS.keys():
        raise ValueError(f"examples: expected {{problem: ..., completion: ...}}, not {values!r:.200}")
    check_values(values, EXAMPLE_KEYS, "examples:")
    return Example(**values)
