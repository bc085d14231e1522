"""The README.md of an exported model: what a model hub and a reader want to know of it. Cheap: no torch.

What it says is read from disk, and may have been written by anybody: every text from there stands as code, in which
nothing is markup, and what goes into the front matter looks like a name of the hub's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from aepo_rllib.support.terminal import visible

CARD_FILE = "README.md"
PACKAGE = "aepo-rllib"
MAX_TEXT, MAX_SETTINGS = 200, 20_000
"""Characters of a value in a table, and of all settings."""
SCORED_K = 5
"""Most values of k in the table of scores."""
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,40}")


class Score(NamedTuple):
    """What an evaluation says of one suite.

    Attributes:
        suite: Its name.
        problems, samples: How many problems, and samples of each.
        points: By k: pass@k and its interval of 95 %, (low, high); None where there is none.
    """

    suite: str
    problems: int
    samples: int
    points: Mapping[int, tuple[float, tuple[float, float] | None]]


class Course(NamedTuple):
    """How training went.

    Attributes:
        heads: Of the columns of figures.
        rows: A label and a figure for each column.
        sentences: What they mean.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    sentences: Sequence[str]


class Evaluated(NamedTuple):
    """The scores of a model.

    Attributes:
        scores: Of each suite.
        settings: How was sampled and judged, by name.
    """

    scores: Sequence[Score]
    settings: Mapping[str, Any]


def model_card(info: Mapping[str, Any], *, course: Course | None = None, evaluated: Evaluated | None = None) -> str:
    """The text of a model card.

    Args:
        info: What training has written beside the model (`aepo.json`). Whatever is missing, or is not what it should
            be, is left out.
        course: How training went, where the run is at hand.
        evaluated: Scores of these very weights.
    """
    sections = [_front_matter(info), _head(info), _facts(info)]
    if course is not None:
        sections.append(_course(course))
    if evaluated is not None and evaluated.scores:
        sections.append(_scores(evaluated))
    sections += [_settings(info), _use(info), _versions(info)]
    return "\n".join(section for section in sections if section)


def code(value: object) -> str:
    """A text from outside as code in a line of Markdown, in which it is nothing but text; also within a table."""
    text = visible(value)
    text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
    ticks = "`" * (_longest_run(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") or not text.strip() else ""
    return f"{ticks}{pad}{text.replace('|', chr(92) + '|') or ' '}{pad}{ticks}"


def block(text: str, language: str = "") -> str:
    """A text from outside as a block of code, which nothing in it ends."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def is_hub_id(name: object) -> bool:
    """Whether a name looks like that of a model or dataset on the hub."""
    return isinstance(name, str) and _HUB_ID.fullmatch(name) is not None


def _front_matter(info: Mapping[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    datasets = info.get("datasets")
    named = [name for name in datasets if is_hub_id(name)] if isinstance(datasets, list) else []
    base, license_ = info.get("base_model"), info.get("license")
    is_license = isinstance(license_, str) and _LICENSE.fullmatch(license_)
    data = ModelCardData(
        base_model=base if is_hub_id(base) else None,
        datasets=named or None,
        library_name="transformers",
        license=license_ if is_license else None,
        pipeline_tag="text-generation",
        tags=["reinforcement-learning", "entropy-control", "ray", "rllib", PACKAGE],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _head(info: Mapping[str, Any]) -> str:
    algorithm = info.get("algorithm")
    method = f"the method {code(algorithm)}" if algorithm else "reinforcement learning"
    return (
        "# A language model trained by reinforcement learning\n\n"
        f"These weights were trained on problems whose answers can be checked, by {method} of {PACKAGE}, a plugin for "
        "Ray RLlib. This card was generated from what training left on disk.\n"
    )


def _facts(info: Mapping[str, Any]) -> str:
    base = info.get("base_entropy")
    rows = {
        "base model": info.get("base_model") or info.get("model"),
        "training steps": info.get("step"),
        "problems": info.get("problems"),
        "target entropy": info.get("target_entropy"),
        "entropy of the base model, nats per token": f"{base:.3f}" if _is_number(base) else None,
        "prompt template": info.get("template"),
        "answer form": info.get("answer_form"),
    }
    told = [(label, code(value)) for label, value in rows.items() if value not in (None, "")]
    return "## Training\n\n" + _table(("", ""), told) if told else ""


def _course(course: Course) -> str:
    rows = [(visible(label), *map(code, figures)) for label, *figures in course.rows]
    sentences = " ".join(visible(sentence) for sentence in course.sentences)
    return _table(("", *course.heads), rows) + (f"\n{sentences}\n" if sentences else "")


def _scores(evaluated: Evaluated) -> str:
    ks = _shown(k for score in evaluated.scores for k in score.points)
    rows = [
        (code(score.suite), f"{score.problems}", f"{score.samples}", *(_point(score.points.get(k)) for k in ks))
        for score in evaluated.scores
    ]
    told = ", ".join(f"{visible(name)} {code(value)}" for name, value in evaluated.settings.items())
    return (
        "## Scores\n\npass@k in percent, with intervals of 95 %.\n\n"
        + _table(("suite", "problems", "samples of each", *(f"pass@{k}" for k in ks)), rows)
        + (f"\nSampled with {told}.\n" if told else "")
    )


def _point(point: tuple[float, tuple[float, float] | None] | None) -> str:
    if point is None:
        return ""
    mean, interval = point
    return f"{100 * mean:.1f}" + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")


def _shown(ks: Iterable[int]) -> list[int]:
    """The first and the last value of k, and what lies evenly between."""
    known = sorted(set(ks))
    if len(known) <= SCORED_K:
        return known
    return [known[round(place * (len(known) - 1) / (SCORED_K - 1))] for place in range(SCORED_K)]


def _settings(info: Mapping[str, Any]) -> str:
    config = _config(info)
    if not config:
        return ""
    steps = {"steps": info["step"]} if type(info.get("step")) is int else {}
    text = yaml.safe_dump({**config, **steps}, sort_keys=False, allow_unicode=False)
    if len(text) > MAX_SETTINGS:
        text = f"{text[:MAX_SETTINGS]}\n# ... and more, see aepo.json"
    return (
        "## Settings\n\nThose that differ from the defaults. As a file `config.yaml` they make a run like this one: "
        f"`aepo train --config config.yaml`.\n\n{block(text, 'yaml')}"
    )


def _use(info: Mapping[str, Any]) -> str:
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'folder = "."  # of this file, or the id of its repository\n'
        "model = AutoModelForCausalLM.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
    )
    return (
        f"## Use\n\n{block(load, 'python')}\nThe model was trained on one kind of problem and one way to ask: "
        "outside of these nothing was checked. `aepo eval .` asks it as in training, and measures pass@k.\n"
    )


def _versions(info: Mapping[str, Any]) -> str:
    versions = info.get("versions")
    named = versions if isinstance(versions, Mapping) else {}
    told = ", ".join(f"{code(name)} {code(version)}" for name, version in named.items())
    return f"## Versions\n\n{told}\n" if told else ""


def _config(info: Mapping[str, Any]) -> Mapping[str, Any]:
    config = info.get("config")
    return config if isinstance(config, Mapping) else {}


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
